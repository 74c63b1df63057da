"""A disk that takes writes and never finishes a sync; on the PYTHONPATH of a bridge with this fault."""

from __future__ import annotations

import os
import threading


def _hang(_file: object) -> None:
    threading.Event().wait()


os.fdatasync = _hang  # type: ignore[assignment]
