"""The manifest: the actors of a Dramatiq application as data, and whether a call of one binds."""
