"""The oldest version of each server that is supported.

An older one is warned about, and used: only a command that is really missing is refused, by the probe or at the connect.
Redis 6.2 brought XAUTOCLAIM (without it entries stay pending at a consumer that has died) and XADD's MINID; Valkey began
at 7.2. RabbitMQ 3.8 brought quorum queues, and the count of deliveries by which the bridge finds an event that ends it.
MQTT brokers tell no version of their own; that of the protocol, 3.1.1 or 5, is checked by CONNECT.
"""

from __future__ import annotations

import re
from typing import Final

OLDEST: Final = {"Redis": (6, 2), "Valkey": (7, 2), "RabbitMQ": (3, 8)}
_VERSION: Final = re.compile(r"(\d{1,9})\.(\d{1,9})")


def is_older(version: str, than: tuple[int, int]) -> bool:
    """Return whether a version's text is of an older one; False where it is none."""
    found = _VERSION.match(version)
    return found is not None and (int(found[1]), int(found[2])) < than


def outdated(product: str, version: str) -> str:
    """Return that the server is older than supported; "" for one that is not, and where the two words do not tell."""
    oldest = OLDEST.get(product)
    if oldest is None or not is_older(version, oldest):
        return ""
    return f"{product} {version} is older than {oldest[0]}.{oldest[1]}, the oldest supported: nobody tests the bridge with it"
