"""How far the entries of a group are written: the position, which the write's own script keeps in Dramatiq's Redis."""

from __future__ import annotations

import json
from typing import Final

from redis.exceptions import ResponseError

from bridge.config import Dramatiq
from bridge.errors import Disconnected
from bridge.redis_io.connection import plain_error
from bridge.redis_io.keys import position_key, restart_key
from bridge.redis_io.patience import ask
from bridge.redis_io.positions import PositionRedis

#: How long the write remembers each entry that a group which was made again may deliver a second time.
SEEN_MS: Final = 86_400_000
_LATER: Final = """
local function padded(id)
  local milliseconds, number = string.match(id, '^(%d+)-?(%d*)$')
  return string.rep('0', 20 - #milliseconds) .. milliseconds .. string.rep('0', 20 - #number) .. number
end
local function later(id, other)
  return other and padded(other) > padded(id) and other or id
end
"""
#: KEYS[1] becomes the id ARGV[1], for ARGV[2] ms, unless a later one stands there: all consumers do so.
_RAISE: Final = f"""{_LATER}
redis.call('SET', KEYS[1], later(ARGV[1], redis.call('GET', KEYS[1])), 'PX', ARGV[2])
"""
#: Makes a group in Dramatiq's Redis. KEYS are the restart's key, the position's, the stream; ARGV the group, the position that
#: the caller knows ('' for none), the id to begin behind ('$' for the last one, which then is no position), the restart
#: ('' for none) and its life in ms. All at once: of several consumers that try, one does it, and it begins behind all that
#: the others have written until now. The restart rises to every id that the stream can have had: ids are times of this
#: server, unless the producer chooses them.
_MAKE: Final = f"""{_LATER}
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[2] then
  return 'changed'
end
local info, restart = redis.pcall('XINFO', 'STREAM', KEYS[3]), ARGV[4]
local made = redis.pcall('XGROUP', 'CREATE', KEYS[3], ARGV[1], ARGV[3], 'MKSTREAM')
if made.err then
  return string.sub(made.err, 1, 9) == 'BUSYGROUP' and 'exists' or made.err
end
if restart ~= '' then
  for place, name in ipairs(info) do
    restart = name == 'last-generated-id' and later(restart, info[place + 1]) or restart
  end
  local time = redis.pcall('TIME')
  if not time.err then
    restart = later(restart, string.format('%d-0', time[1] * 1000 + math.floor(time[2] / 1000) + 1))
  end
  redis.call('SET', KEYS[1], later(restart, redis.call('GET', KEYS[1])), 'PX', ARGV[5])
end
if ARGV[3] ~= '$' then
  redis.call('SET', KEYS[2], ARGV[3])
end
return 'made'
"""


class Positions:
    """The positions of one group in each of its streams.

    In Dramatiq's own Redis the stream and the group name a position: it outlives a new name of the source. The streams
    of other servers may have equal names, so there the source's name is a part.
    """

    def __init__(self, source: str, group: str, dramatiq: Dramatiq, *, in_sink: bool) -> None:
        self._source = source
        self._group = group
        self._dramatiq = dramatiq
        self.in_sink = in_sink
        self._redis = PositionRedis(source, dramatiq)

    def log(self, stream: str) -> str:
        """Return the name under which the write keeps the position (`WriteOnce.log`)."""
        return json.dumps([stream, self._group] if self.in_sink else [self._source, stream, self._group])

    async def read(self, stream: str) -> bytes | None:
        """Return the highest id that was written, None where none is known; waits for Redis."""
        return await self._redis.ask("GET", self._position_key(stream))  # type: ignore[no-any-return]

    async def read_at_once(self, stream: str) -> bytes | None:
        """Return the same; None as well if Redis does not answer."""
        try:
            (value,) = await ask(self._dramatiq, [("GET", self._position_key(stream))])
        except (Disconnected, ResponseError):
            return None
        return value  # type: ignore[no-any-return]

    async def begin(self, stream: str, entry_id: bytes, *, anew: bool) -> None:
        """Record where a new group begins, unless something was written meanwhile, or the stream is `anew`; waits for Redis."""
        await self._redis.ask("SET", self._position_key(stream), entry_id, *(() if anew else ("NX",)))

    async def restart(self, stream: str, last_id: bytes) -> None:
        """Let the write remember each entry up to `last_id`, because the group was lost; waits for Redis."""
        await self._redis.ask("EVAL", _RAISE, 1, self._restart_key(stream), last_id, SEEN_MS)

    async def make(self, stream: str, *, known: bytes | None, start: bytes, last_known: bytes | None) -> str:
        """Make the group of a stream in Dramatiq's Redis, if `known` is still its position; waits for Redis.

        With `last_known` the write remembers each entry up to it, and to every id that the stream may have had.
        Return "made", "exists" (another consumer has made it), "changed" (the position), or Redis's refusal.
        """
        keys = self._restart_key(stream), self._position_key(stream), stream
        arguments = self._group, known or b"", start, last_known or b"", SEEN_MS
        status = await self._redis.ask("EVAL", _MAKE, 3, *keys, *arguments)
        return plain_error(str(status, "utf-8", "backslashreplace"))

    def _restart_key(self, stream: str) -> str:
        return restart_key(self._dramatiq.namespace, self.log(stream))

    def _position_key(self, stream: str) -> str:
        return position_key(self._dramatiq.namespace, self.log(stream))
