"""Connections to Redis that sources and sink share."""
