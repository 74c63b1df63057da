"""What a dead resolver does to the bridge: a name never resolves, and a thread waits for it; on the PYTHONPATH of such a bridge."""

from __future__ import annotations

import socket
import time
from typing import Any

_getaddrinfo = socket.getaddrinfo


def _hang(host: Any, *arguments: Any, **options: Any) -> Any:
    if host in ("blackhole.invalid", b"blackhole.invalid"):
        time.sleep(3600)
    return _getaddrinfo(host, *arguments, **options)


socket.getaddrinfo = _hang
