"""Redis's memory, as Redis itself compares it before it refuses writes, and the keys that it deletes instead."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from bridge.redis_io.servers import info_fields


class Evicts(enum.Enum):
    """The keys that Redis deletes once it is full."""

    NOTHING = "nothing"
    #: Keys that expire: those by which the bridge recognises written events. Queues never expire.
    OWN_KEYS = "own keys"
    #: Any key, bodies of messages among them; then no write is refused.
    MESSAGES = "messages"


@dataclass(slots=True, frozen=True)
class Memory:
    """Bytes of memory: `used`, of `limit` at which writes are refused; a `limit` of 0 means that there is none.

    `policy` is Redis's own name of what it `evicts`; without a `maxmemory` it evicts nothing.
    """

    used: int
    limit: int
    policy: str = ""
    evicts: Evicts = Evicts.NOTHING

    def dead_letter_bytes(self, max_size: int) -> int:
        """Return the bytes that dead letters may take: `max_size`, but a tenth of the limit, so that they pause no source."""
        return min(max_size, max(1, self.limit // 10)) if self.limit else max_size


def parse_memory(info: str) -> Memory:
    """Return the memory that the text of INFO memory describes.

    Raises:
        ValueError: it describes none, as with some servers that are no Redis.
    """
    fields = info_fields(info)
    if "used_memory" not in fields:
        raise ValueError("it tells no used_memory")
    # Redis compares `maxmemory` with the memory in use without the buffers of replicas and of the AOF.
    used = int(fields["used_memory"]) - int(fields.get("mem_not_counted_for_evict", 0))
    limit, policy = int(fields.get("maxmemory", 0)), fields.get("maxmemory_policy", "noeviction")
    if not limit:
        return Memory(used, 0, policy)
    if policy.startswith("volatile-"):
        return Memory(used, limit, policy, Evicts.OWN_KEYS)
    if policy == "noeviction":
        return Memory(used, limit, policy)
    return Memory(used, 0, policy, Evicts.MESSAGES)
