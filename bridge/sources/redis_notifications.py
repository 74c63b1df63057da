"""Redis's own events of its keys: whether it publishes those that a source of pub/sub subscribes to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bridge.config import RedisPubsub
from bridge.observe.logs import logger
from bridge.redis_io import rights
from bridge.redis_io.connection import RedisConnection

log = logger()
#: How their channels begin, and the letter of `notify-keyspace-events` that each needs.
_LETTERS: Final = {"__keyspace@": "K", "__keyevent@": "E"}


def wanted(config: RedisPubsub) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yield the letter that a channel or pattern of such events needs, and its place in the source."""
    for key, names in (("channels", config.channels), ("patterns", config.patterns)):
        for index, name in enumerate(names):
            for beginning, letter in _LETTERS.items():
                if name.startswith(beginning):
                    yield letter, (key, index)


async def published(connection: RedisConnection) -> str | None:
    """Return the letters that Redis publishes events by; None where the bridge may not ask.

    Raises:
        Disconnected: the connection has ended.
    """
    reply = await rights.answer(connection, "CONFIG", "GET", "notify-keyspace-events")
    if not isinstance(reply, list) or len(reply) < 2:
        return None
    return str(reply[1], "utf-8", "backslashreplace")


def missing(letter: str, flags: str) -> tuple[str, str]:
    """Return that no event comes for want of `letter`, and the remedy; ("", "") where some come."""
    # Besides K or E there must be a letter for the kind of event.
    if letter in flags and set(flags) - {"K", "E"}:
        return "", ""
    cause = f"Redis publishes none of these events: notify-keyspace-events is {flags!r}"
    return cause, f"CONFIG SET notify-keyspace-events {letter}A, or with fewer kinds of events"


class NotificationsCheck:
    """Says once of a source that Redis publishes none of the events that it subscribes to."""

    def __init__(self, source: str, config: RedisPubsub) -> None:
        self._source = source
        self._letters = sorted({letter for letter, _ in wanted(config)})
        self._said = False

    async def run(self, connection: RedisConnection) -> None:
        """Ask, unless it was said before.

        Raises:
            Disconnected: the connection has ended.
        """
        if not self._letters or self._said:
            return
        flags = await published(connection)
        for cause, remedy in (missing(letter, flags) for letter in self._letters if flags is not None):
            if cause and not self._said:
                self._said = True
                log.warning("source.notifications_off", source=self._source, cause=cause, remedy=remedy)
