"""The consumer group of a source's streams: created where it is missing, and inspected from time to time."""

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

_INSPECT_SCRIPT: Final = files("bridge.sources.redis_stream").joinpath("group.lua").read_text()
_INSPECT_INTERVAL_S: Final = 10.0
#: After a longer pause of reading, the group is inspected before the next read: most is trimmed while a sink is away.
_MAX_READ_PAUSE_S: Final = 3.0
#: A consumer that holds nothing is deleted once it was idle for `claim_after` this many times (an hour by default). A
#: living one inspects more often; if it is deleted nevertheless, Redis makes it again at its next read.
_DELETE_AFTER_CLAIM_TIMES: Final = 60
_MIN_DELETE_AFTER_MS: Final = 2_000

log = logger()


class Group:
    """The group, by its name, in each of the streams; `consumer` is our name in it.

    `trimmed` counts entries that were removed from the stream before they were written. Pending ones are counted
    exactly; of those that the group had not read yet, some may go unnoticed.
    """

    def __init__(self, source: str, config: RedisStream) -> None:
        self.consumer = config.consumer or socket.gethostname()
        self.trimmed = 0
        self._source = source
        self._config = config
        self._inspect_at = 0.0  # `time.monotonic`; infinite once Redis has refused

    async def create(self, connection: RedisConnection) -> None:
        """Create the group, and its streams, where they are missing; called once for each new connection.

        Raises:
            Disconnected: Redis refused, or the connection ended.
        """
        start = "0" if self._config.start == "beginning" else "$"
        for stream in self._config.streams:
            try:
                await connection.command("XGROUP", "CREATE", stream, self._config.group, start, "MKSTREAM")
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise Disconnected(str(error)) from None
        self._inspect_at = 0.0

    def inspection_due(self, read_at: float) -> bool:
        """Return whether to inspect before the next read; `read_at` is the time of the last one (`time.monotonic`)."""
        now = time.monotonic()
        return now >= self._inspect_at or (now - read_at > _MAX_READ_PAUSE_S and self._inspect_at < float("inf"))

    async def inspect(self, connection: RedisConnection) -> None:
        """Count entries that were trimmed before they were read, and delete consumers that are gone: see `group.lua`.

        If Redis is too old for it, or forbids it, that is logged, and no more is tried on this connection.

        Raises:
            Disconnected: the connection has ended.
        """
        idle_ms = max(self._config.claim_after * _DELETE_AFTER_CLAIM_TIMES, _MIN_DELETE_AFTER_MS)
        self._inspect_at = time.monotonic() + _INSPECT_INTERVAL_S
        try:
            for stream in self._config.streams:
                lost, deleted = await connection.command(
                    "EVAL", _INSPECT_SCRIPT, 1, stream, self._config.group, self.consumer, idle_ms
                )
                if deleted:
                    log.info("source.consumers_deleted", source=self._source, stream=stream, consumers=deleted)
                if lost < 0:
                    raise ResponseError("Redis counts from 7.0 on what a group has read")
                self.count_trimmed(stream, lost)
        except ResponseError as error:
            log.warning("source.trimming_unnoticed", source=self._source, cause=str(error))
            self._inspect_at = float("inf")

    def count_trimmed(self, stream: str, count: int) -> None:
        """Count and log entries that are lost, if `count` is not 0."""
        if count:
            self.trimmed += count
            log.error("source.entries_trimmed", source=self._source, stream=stream, lost=count, total=self.trimmed)
