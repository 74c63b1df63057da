"""Topic patterns: one syntax per protocol."""
