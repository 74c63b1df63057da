"""How the sink reads Redis's memory."""

from __future__ import annotations

from bridge.sink import Memory
from bridge.sink.memory import parse_memory


def test_only_a_redis_that_refuses_writes_has_a_limit() -> None:
    """`maxmemory` is a limit with the policy noeviction only; buffers that Redis does not compare with it do not count."""
    info = "# Memory\r\nused_memory:1000\r\nmem_not_counted_for_evict:100\r\nmaxmemory:5000\r\nmaxmemory_policy:{}\r\n"
    assert parse_memory(info.format("noeviction")) == Memory(used=900, limit=5000)
    assert parse_memory(info.format("allkeys-lru")) == Memory(used=900, limit=0)
    assert parse_memory("used_memory:7\r\n") == Memory(used=7, limit=0)
