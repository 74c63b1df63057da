"""What the bridge says about itself."""
