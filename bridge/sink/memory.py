"""Redis's memory, as Redis itself compares it before it refuses writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: With every other policy Redis evicts other users' keys, and refuses no write.
_NO_EVICTION: Final = "noeviction"


@dataclass(slots=True, frozen=True)
class Memory:
    """Bytes of memory: `used`, of `limit` at which writes are refused; a `limit` of 0 means that there is none."""

    used: int
    limit: int


def parse_memory(info: str) -> Memory:
    """Return the memory that the text of INFO memory describes."""
    fields = {name: value for name, _, value in (line.partition(":") for line in info.splitlines())}
    # Redis compares `maxmemory` with the memory in use without the buffers of replicas and of the AOF.
    used = int(fields.get("used_memory", 0)) - int(fields.get("mem_not_counted_for_evict", 0))
    refuses_writes = fields.get("maxmemory_policy", _NO_EVICTION) == _NO_EVICTION
    return Memory(used, int(fields.get("maxmemory", 0)) if refuses_writes else 0)
