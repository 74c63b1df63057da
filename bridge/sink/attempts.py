"""How often events were attempted, counted in Dramatiq's Redis, where it survives the process (see `bridge.delivery.poison`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bridge.redis_io.connection import command
from bridge.sink.connection_pool import ConnectionPool

#: One step, so that what ends the process afterwards is always counted: attempts so far, and one more of each.
_ATTEMPTS: Final = """
local before, most = redis.call('HMGET', KEYS[1], unpack(ARGV, 3)), 0
for i, count in ipairs(before) do
  before[i] = tonumber(count or 0)
  most = math.max(most, before[i])
end
if most < tonumber(ARGV[1]) then
  for i = 3, #ARGV do
    redis.call('HINCRBY', KEYS[1], ARGV[i], 1)
  end
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return before
"""
_ATTEMPTS_LIFETIME_S: Final = 86_400


class RedisAttempts:
    """The counts of each source, in the hash `<namespace>-bridge:attempts:<source>`; forgotten after a day without an attempt."""

    def __init__(self, connections: ConnectionPool, namespace: str) -> None:
        self._connections = connections
        self._namespace = namespace

    async def begin(self, source: str, events: Sequence[bytes], *, below: int) -> list[int]:
        """Return how often each event was attempted before; begin one more of each, unless one has `below` or more.

        Raises:
            SinkUnavailable: they can't be counted now.
        """
        call = command("EVAL", _ATTEMPTS, 1, self._key(source), below, _ATTEMPTS_LIFETIME_S, *events)
        return [int(count) for count in await self._connections.execute(call)]

    async def forget(self, source: str, events: Sequence[bytes]) -> None:
        """Forget the attempts.

        Raises:
            SinkUnavailable: they can't be forgotten now.
        """
        await self._connections.execute(command("HDEL", self._key(source), *events))

    def _key(self, source: str) -> str:
        return f"{self._namespace}-bridge:attempts:{source}"
