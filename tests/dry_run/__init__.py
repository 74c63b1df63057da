"""Dry runs: what becomes of an event, without any broker."""
