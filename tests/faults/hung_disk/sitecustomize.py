"""What a disk does that no longer answers: a sync never returns; on the PYTHONPATH of such a bridge."""

from __future__ import annotations

import os
import time


def _hang(_handle: int) -> None:
    time.sleep(3600)


os.fsync = os.fdatasync = _hang  # type: ignore[assignment]
