"""What a slow disk does: each call that SLOW_DISK names, fsync or pwrite, takes a while; on the PYTHONPATH of such a bridge."""

from __future__ import annotations

import os
import time
from typing import Any

_CALL = os.environ["SLOW_DISK"]
_plain = getattr(os, _CALL)


def _slow(*arguments: Any) -> Any:
    time.sleep(0.4)
    return _plain(*arguments)


setattr(os, _CALL, _slow)
