"""The words of the bridge: event, batch, message."""
