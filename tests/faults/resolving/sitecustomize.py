"""A resolver that a test rules, on the PYTHONPATH of its bridge: the file of the variable NAMES is JSON, read each time.

It maps a name, or a pattern as `dead-*`, to its addresses; null is a resolver that never answers.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

_real = socket.getaddrinfo


def _resolve(host: Any, port: Any, *others: Any, **options: Any) -> Any:
    names = json.loads(Path(os.environ["NAMES"]).read_text())
    text = host.decode() if isinstance(host, bytes) else str(host)
    for pattern, addresses in names.items():
        if fnmatch(text, pattern) and not options.get("flags"):
            if addresses is None:
                threading.Event().wait()
            return [found for address in addresses for found in _real(address, port, *others, **options)]
    return _real(host, port, *others, **options)


socket.getaddrinfo = _resolve
