"""The commands, one file each; `bridge.cli` parses their arguments."""
