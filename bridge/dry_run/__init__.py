"""Runs events through the routes of a file without any broker, and explains what becomes of them."""
