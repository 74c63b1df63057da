# ruff: noqa: INP001 - a directory for PYTHONPATH, and no package
"""Hides the real uvloop on PYTHONPATH: the bridge runs as if uvloop were not installed."""

raise ImportError("uvloop is left out of this run on purpose")
