"""The manifest: a real application's actors, and the calls that do not bind."""
