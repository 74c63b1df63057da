"""In place of uvloop, on the PYTHONPATH of a bridge that is to run on asyncio's own loop."""

raise ImportError("this bridge runs without uvloop")
