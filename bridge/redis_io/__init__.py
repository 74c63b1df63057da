"""Connections to Redis that sources and sink share.

redis-py imports OpenTelemetry's SDK where it is installed, for metrics of its own that the bridge does not switch on: a tenth of a second
of each process. Here it finds none, unless somebody has imported one of them before.
"""

from __future__ import annotations

import sys

_UNUSED = "opentelemetry.sdk.metrics"

if "redis" not in sys.modules and _UNUSED not in sys.modules:
    sys.modules[_UNUSED] = None  # type: ignore[assignment] # by this an import fails: see Python's reference, 5.3.1
    try:
        import redis.asyncio  # noqa: F401
    finally:
        del sys.modules[_UNUSED]
