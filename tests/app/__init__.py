"""Dramatiq applications, one for each example of the bridge's configuration; each has a broker of its own."""
