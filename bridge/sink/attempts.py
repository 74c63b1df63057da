"""Counts attempts at events in Redis, where the counts survive the process (see `bridge.delivery.poison`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bridge.redis_io.connection import encode_command
from bridge.sink.connection_pool import ConnectionPool

#: Returns the attempts so far and counts one more of each, in one step: an event that then ends the process is counted.
#: The field '' counts the others. Beyond the bound all are forgotten: EXPIRE deletes the key. It also comes before the first
#: count: denied after it, the attempts of an event would be counted without one. Counts of another form, as a newer version may
#: have left them, begin anew.
_BEGIN: Final = """
local before, highest, fresh = redis.call('HMGET', KEYS[1], '', unpack(ARGV, 4)), 0, 0
for _, count in ipairs(before) do
  if count and not string.match(count, '^-?%d+$') then
    redis.call('EXPIRE', KEYS[1], 0)
    before = redis.call('HMGET', KEYS[1], '', unpack(ARGV, 4))
    break
  end
end
table.remove(before, 1)
for i, count in ipairs(before) do
  before[i] = tonumber(count or 0)
  highest = math.max(highest, before[i])
  fresh = fresh + (count and 0 or 1)
end
if highest < tonumber(ARGV[1]) then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  if redis.call('HINCRBY', KEYS[1], '', fresh) > tonumber(ARGV[3]) then
    redis.call('EXPIRE', KEYS[1], 0)
    redis.call('HINCRBY', KEYS[1], '', #before)
  end
  for i = 4, #ARGV do
    redis.call('HINCRBY', KEYS[1], ARGV[i], 1)
  end
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return before
"""
_FORGET: Final = """
local forgotten = redis.call('HDEL', KEYS[1], unpack(ARGV))
if redis.call('HINCRBY', KEYS[1], '', 0 - forgotten) <= 0 then
  redis.call('EXPIRE', KEYS[1], 0)
end
"""
_LIFETIME_S: Final = 86_400
#: Counts that are kept of one source: some 10 MB. A crash leaves those of one batch, and ten crashes find a poison.
_MAX_COUNTS: Final = 100_000


class RedisAttempts:
    """The counts of each source, in the hash `<namespace>-bridge:attempts:<source>`; a day without an attempt ends it."""

    def __init__(self, connections: ConnectionPool, namespace: str) -> None:
        self._connections = connections
        self._namespace = namespace

    async def begin(self, source: str, events: Sequence[bytes], *, below: int) -> list[int]:
        """Return how often each event was attempted before; begin one more of each, unless one has `below` or more.

        Raises:
            SinkUnavailable: they can't be counted now.
        """
        command = encode_command("EVAL", _BEGIN, 1, self._key(source), below, _LIFETIME_S, _MAX_COUNTS, *events)
        return [int(count) for count in await self._connections.execute(command)]

    async def forget(self, source: str, events: Sequence[bytes]) -> None:
        """Forget the attempts.

        Raises:
            SinkUnavailable: they can't be forgotten now.
        """
        await self._connections.execute(encode_command("EVAL", _FORGET, 1, self._key(source), *events))

    def _key(self, source: str) -> str:
        return f"{self._namespace}-bridge:attempts:{source}"
