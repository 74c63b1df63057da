# ruff: noqa: INP001 - a directory for PYTHONPATH, and no package
"""Stands in front of the real uvloop on PYTHONPATH: the bridge runs as where uvloop is not installed."""

raise ImportError("uvloop is left out of this run on purpose")
