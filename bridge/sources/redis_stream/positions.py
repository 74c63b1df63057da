"""How far the entries of a group are written: the position, which the write's own script keeps in Dramatiq's Redis."""

from __future__ import annotations

import json
from typing import Any, Final

from bridge.config import Dramatiq
from bridge.observe.logs import LogThrottle, logger
from bridge.redis_io.keys import positions_key, restarts_key
from bridge.redis_io.patience import ask_until_answered

log = logger()
#: How long the write remembers each entry that a group which was made again may deliver a second time.
SEEN_MS: Final = 86_400_000
#: Sets a field unless it is set: a writer may have been faster. (HSETNX is not among the bridge's permissions.)
_SET_FIRST: Final = """
if not redis.call('HMGET', KEYS[1], ARGV[1])[1] then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
"""


class Positions:
    """The positions of one group in each of its streams.

    In Dramatiq's own Redis the group and the stream name a position: it outlives a new name of the source. The streams
    of other servers may have equal names, so there the source's name is a part.
    """

    def __init__(self, source: str, group: str, dramatiq: Dramatiq, *, in_sink: bool) -> None:
        self._source = source
        self._group = group
        self._dramatiq = dramatiq
        self._in_sink = in_sink
        self._throttle = LogThrottle()

    def field(self, stream: str) -> str:
        """Return the field of the hash of positions."""
        return json.dumps([stream, self._group] if self._in_sink else [self._source, stream, self._group])

    async def read(self, stream: str) -> bytes | None:
        """Return the id of the last entry written, None where none is known; waits for Redis."""
        key = positions_key(self._dramatiq.namespace)
        (values,) = await self._ask(("HMGET", key, self.field(stream)))
        return values[0]  # type: ignore[no-any-return]

    async def begin(self, stream: str, entry_id: bytes) -> None:
        """Record where a new group begins, unless something was written meanwhile; waits for Redis."""
        await self._ask(("EVAL", _SET_FIRST, 1, positions_key(self._dramatiq.namespace), self.field(stream), entry_id))

    async def restart(self, stream: str, last_id: bytes) -> None:
        """Let the write remember each entry up to `last_id`: the group is about to be made again; waits for Redis."""
        key = restarts_key(self._dramatiq.namespace)
        await self._ask(("HSET", key, self.field(stream), last_id), ("EXPIRE", key, SEEN_MS // 1000))

    async def _ask(self, *commands: tuple[str | bytes | int, ...]) -> list[Any]:
        return await ask_until_answered(self._dramatiq, commands, self._log_failure)

    def _log_failure(self, cause: str, wait_s: float) -> None:
        if (suppressed := self._throttle.allow("unavailable", cause)) is not None:
            log.warning(
                "source.position_unknown",
                source=self._source,
                cause=cause,
                retry_in=round(wait_s, 2),
                repeated=suppressed,
            )


def entry_order(entry_id: bytes) -> tuple[int, int]:
    """Return the two numbers of an entry's id."""
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number or 0)
