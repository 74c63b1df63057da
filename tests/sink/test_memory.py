"""How the sink reads Redis's memory."""

from __future__ import annotations

from bridge.sink import Memory
from bridge.sink.memory import Evicts, parse_memory


def test_only_a_redis_that_refuses_writes_has_a_limit() -> None:
    """`maxmemory` is a limit unless any key can be deleted; buffers that Redis does not compare with it do not count."""
    info = "# Memory\r\nused_memory:1000\r\nmem_not_counted_for_evict:100\r\nmaxmemory:5000\r\nmaxmemory_policy:{}\r\n"
    assert parse_memory(info.format("noeviction")) == Memory(900, 5000, "noeviction")
    assert parse_memory(info.format("allkeys-lru")) == Memory(900, 0, "allkeys-lru", Evicts.MESSAGES)
    assert parse_memory(info.format("volatile-ttl")) == Memory(900, 5000, "volatile-ttl", Evicts.OWN_KEYS)
    assert parse_memory("used_memory:0\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n") == Memory(
        0, 0, "allkeys-lru"
    )
    assert parse_memory("used_memory:7\r\n") == Memory(7, 0, "noeviction")
