"""The memory of this process, as the kernel counts it."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Final

_PAGE_BYTES: Final = resource.getpagesize()
_STATM: Final = Path("/proc/self/statm")


def resident_bytes() -> int:
    """Return the resident memory; 0 where there is no /proc."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0
