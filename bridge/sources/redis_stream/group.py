"""The consumer group of a source's streams: made where it is missing, and looked after now and then."""

from __future__ import annotations

import socket
import time
from importlib.resources import files
from typing import Final

from redis.exceptions import ResponseError

from bridge.config import RedisStream
from bridge.errors import Disconnected
from bridge.observe.logs import logger
from bridge.redis_io.connection import RedisConnection

_LOOK: Final = files("bridge.sources.redis_stream").joinpath("group.lua").read_text()
_LOOK_EVERY_S: Final = 10.0
#: Before reading on after so long a pause, as behind a sink that was away: that is when most can have been trimmed.
_PAUSE_S: Final = 3.0
#: A consumer that holds nothing is deleted once it was idle for so many times `claim_after`: an hour, if nothing is set.
#: One that lives looks more often than that, and should it be deleted all the same, Redis makes it anew as it reads.
_DELETE_AFTER: Final = 60
_DELETE_AFTER_MS: Final = 2_000

log = logger()


class Group:
    """The group by its name, in each of the streams; `consumer` is who reads.

    `trimmed` counts the entries that were gone before they could be written: those pending exactly, and of those that
    the group had not read yet at least so many.
    """

    def __init__(self, source: str, config: RedisStream) -> None:
        self.consumer = config.consumer or socket.gethostname()
        self.trimmed = 0
        self._source = source
        self._config = config
        self._look_at = 0.0

    async def make(self, link: RedisConnection) -> None:
        """Make the group and its streams where they are missing, on a new connection.

        Raises:
            Disconnected: Redis has not done so.
        """
        start = "0" if self._config.start == "beginning" else "$"
        for stream in self._config.streams:
            try:
                await link.command("XGROUP", "CREATE", stream, self._config.group, start, "MKSTREAM")
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise Disconnected(str(error)) from None
        self._look_at = 0.0

    def must_look(self, read_at: float) -> bool:
        """Tell whether to look before the next read; the last one was asked for at `read_at` (`time.monotonic`)."""
        now = time.monotonic()
        return now >= self._look_at or (now - read_at > _PAUSE_S and self._look_at < float("inf"))

    async def look(self, link: RedisConnection) -> None:
        """Count what was trimmed before it was read, and delete consumers that are gone: `group.lua`.

        Where Redis is too old for that or forbids it, it is said and not done: for the rest of the connection.
        """
        idle_ms = max(self._config.claim_after * _DELETE_AFTER, _DELETE_AFTER_MS)
        self._look_at = time.monotonic() + _LOOK_EVERY_S
        try:
            for stream in self._config.streams:
                lost, deleted = await link.command("EVAL", _LOOK, 1, stream, self._config.group, self.consumer, idle_ms)
                if deleted:
                    log.info("source.consumers_deleted", source=self._source, stream=stream, consumers=deleted)
                if lost < 0:
                    raise ResponseError("Redis counts from 7.0 on what a group has read")
                self.say_trimmed(stream, lost)
        except ResponseError as error:
            log.warning("source.trimming_unnoticed", source=self._source, cause=str(error))
            self._look_at = float("inf")

    def say_trimmed(self, stream: str, count: int) -> None:
        """Say and count entries that are lost, if there are any."""
        if count:
            self.trimmed += count
            log.error("source.entries_trimmed", source=self._source, stream=stream, lost=count, total=self.trimmed)
