"""The consumer group of a source's streams: made where it is missing, and inspected from time to time.

A group that was lost (XGROUP DESTROY, DEL of the stream, FLUSHALL, a failover) is made again behind the highest id that
was written: an entry that was only read may have died with its consumer, and is delivered again. Entries that
the consumers still hold are written as well. Entries before that id that were pending at a consumer which is gone are lost with the group, and
nobody can tell whether there were any.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable
from importlib.resources import files
from typing import Any, Final

from redis.exceptions import ResponseError

from bridge.config import RedisStream
from bridge.config.starts import entry_before
from bridge.errors import Disconnected
from bridge.model.accounting import Missed
from bridge.model.entry_ids import entry_order
from bridge.observe.logs import RepeatedLog, logger
from bridge.redis_io.connection import RedisConnection
from bridge.redis_io.rights import literal, with_line
from bridge.redis_io.servers import with_remedy
from bridge.sources.redis_stream.positions import Positions

_INSPECT_SCRIPT: Final = files("bridge.sources.redis_stream").joinpath("group.lua").read_text()
_INSPECT_INTERVAL_S: Final = 10.0
#: After a longer pause of reading, the group is inspected before the next read: most is trimmed while a sink is away.
_MAX_READ_PAUSE_S: Final = 3.0
#: A consumer that holds nothing is deleted once it was idle for `claim_after` this many times (an hour by default). A
#: living one inspects more often; if it is deleted nevertheless, Redis makes it again at its next read.
_DELETE_AFTER_CLAIM_TIMES: Final = 60
_MIN_DELETE_AFTER_MS: Final = 2_000
#: A range of ids that is always empty; the very last id is not used, since Redis itself uses it for '>' (observed).
_EMPTY_RANGE: Final = "18446744073709551615-18446744073709551614"
_BEFORE_ALL: Final = b"0-0"
#: How often a group is tried to be made while another consumer writes.
_MAX_TRIES: Final = 20
#: Causes of `source.gap`.
_GAP_STREAM: Final = (
    "the stream was made anew: entries of the old one that were not read are lost,"
    " and one of the new that has the id of an entry written within a day counts as its duplicate"
)
_GAP_POSITION: Final = "Redis has lost the position as well: what was added and lost with it can't be known"
_GAP_UNKNOWN: Final = "nothing is known to have been written: what the group had still to deliver can't be known"
_MADE_AGAIN: Final = "it was lost: earlier entries that were pending at a consumer which is gone are lost with it"

#: Replies of the script.
_NOT_COUNTED: Final = -1
_FORGOTTEN: Final = -2
_COUNT_FORGOTTEN: Final = (
    "Redis has forgotten how much the group has read, as at a restart or a failover:"
    " entries that were trimmed unread around then are not counted"
)

log = logger()


class Group:
    """The group, by its name, in each of the streams; `consumer` is our name in it.

    `missed` counts entries that were removed from the stream before they were written. Pending ones are counted
    exactly; of those that the group had not read yet, some may go unnoticed.
    """

    def __init__(self, source: str, config: RedisStream, positions: Positions) -> None:
        self.consumer = config.consumer or socket.gethostname()
        self.missed = Missed()
        self._source = source
        self._config = config
        self._positions = positions
        self._repeated = RepeatedLog()
        # Of each stream: the highest id that this process has read; the highest that is known to be written, which at
        # first is where the group began. A stream whose group has been there has a value, perhaps None, in the second.
        self._read: dict[str, bytes] = {}
        self._written: dict[str, bytes | None] = {}
        # Of each stream: how many entries the group had read at the last inspection, and this consumer since; see `group.lua`.
        self._counted: dict[str, int] = {}
        self._new: Counter[str] = Counter()
        self._inspect_at = 0.0  # `time.monotonic`; infinite once Redis has refused

    def log(self, stream: str) -> str:
        """Return `WriteOnce.log` of the entries of `stream`."""
        return self._positions.log(stream)

    def note_read(self, stream: str, entry_id: bytes, *, new: int = 0) -> None:
        """Note the last entry of a reply, and how many of its entries are new to the group."""
        self._read[stream] = _later(entry_id, self._read.get(stream))
        self._new[stream] += new

    def note_written(self, stream: str, entry_id: bytes) -> None:
        """Note that an entry was written."""
        self._written[stream] = _later(entry_id, self._written.get(stream))

    async def create(self, connection: RedisConnection, *, lost: bool = False) -> None:
        """Make the group, and its streams, where they are missing; waits for Dramatiq's Redis where it has to.

        `lost` says that it is known to have been lost, also if another consumer has made it again meanwhile.

        Raises:
            Disconnected: Redis refused, or the connection ended.
        """
        for stream in self._config.streams:
            try:
                await self._create_of(connection, stream, lost=lost)
            except ResponseError as error:
                raise Disconnected(refused(str(error), stream, self._config)) from None
        self._inspect_at = 0.0

    async def _create_of(self, connection: RedisConnection, stream: str, *, lost: bool) -> None:
        if not await self._exists(connection, stream):
            await self._make(connection, stream)
            return
        if self._written.get(stream) is None:
            self._written[stream] = await self._positions.read_at_once(stream)
        if lost:
            self._counted.pop(stream, None)
        if lost and self._positions.in_sink and stream in self._read:
            # Another consumer may have made it, and does not know how far this one has read.
            await self._positions.restart(stream, self._read[stream])

    async def _exists(self, connection: RedisConnection, stream: str) -> bool:
        try:
            await connection.command(
                "XREADGROUP", "GROUP", self._config.group, self.consumer, "COUNT", 1, "STREAMS", stream, _EMPTY_RANGE
            )
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            return False
        return True

    async def _make(self, connection: RedisConnection, stream: str) -> None:
        for _ in range(_MAX_TRIES):
            if await self._try_to_make(connection, stream):
                return
        raise Disconnected(f"the group of {stream!r} can't be made: its position changes all the time")

    async def _try_to_make(self, connection: RedisConnection, stream: str) -> bool:
        """Make the group; return False if its position has changed meanwhile."""
        # Before the wait for Dramatiq's Redis: entries that are added meanwhile are new.
        last_id = await self._last_id(connection, stream)
        recorded, read = await self._positions.read(stream), self._read.get(stream)
        had_been_there = recorded is not None or read is not None or stream in self._written
        written = max(filter(None, (recorded, self._written.get(stream))), key=entry_order, default=None)
        # Without a position, behind the last entry that this process has read: it still holds all of them.
        behind = written or read
        # A stream whose ids are lower was made anew.
        renewed = last_id is not None and behind is not None and entry_order(last_id) < entry_order(behind)
        start = _BEFORE_ALL if renewed else behind
        if behind is None:
            start = entry_before(self._config.start) or last_id
        if self._positions.in_sink:
            last_known = _later(_now(), last_id, read, written) if had_been_there else None
            status = await self._positions.make(stream, known=recorded, start=start or b"$", last_known=last_known)
            if status == "exists" and read is not None:
                await self._positions.restart(stream, read)
        else:
            # Each entry is remembered anyway: one that is delivered again is not written again.
            status = "made" if await self._create(connection, stream, start or b"$") else "exists"
            if start is not None:
                await self._positions.begin(stream, start, anew=renewed)
        if status == "changed":
            return False
        if status not in {"made", "exists"}:
            raise Disconnected(f"the group of {stream!r} can't be made: {status}")
        self._written[stream] = start
        self._counted.pop(stream, None)
        if status == "made" and had_been_there:
            gap = "" if recorded else _GAP_POSITION if written else _GAP_UNKNOWN
            self._log_made_again(stream, start, _GAP_STREAM if renewed else gap)
        return True

    def _log_made_again(self, stream: str, start: bytes | None, gap: str) -> None:
        after = (start or b"$").decode()
        self._say(stream, log.warning, "source.group_made_again", stream=stream, after=after, cause=_MADE_AGAIN)
        if gap:
            self.missed.gaps += 1
            self._say((stream, gap), log.error, "source.gap", stream=stream, cause=gap)

    async def _create(self, connection: RedisConnection, stream: str, start: bytes) -> bool:
        """Make the group; return False if another consumer has just made it."""
        try:
            await connection.command("XGROUP", "CREATE", stream, self._config.group, start, "MKSTREAM")
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
            return False
        return True

    async def _last_id(self, connection: RedisConnection, stream: str) -> bytes | None:
        """Return the id of the last entry that was ever added; None where the bridge may not ask."""
        try:
            fields = await connection.command("XINFO", "STREAM", stream)
        except ResponseError as error:
            return _BEFORE_ALL if "no such key" in str(error) else None
        # Other servers leave it out (miniredis).
        return dict(zip(fields[::2], fields[1::2], strict=True)).get(b"last-generated-id")

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
                counted = self._counted.get(stream, -1)
                lost, deleted, self._counted[stream] = await connection.command(
                    "EVAL", _INSPECT_SCRIPT, 1, stream,
                    self._config.group, self.consumer, idle_ms, counted, self._new[stream],
                )  # fmt: skip
                self._new[stream] = 0
                if deleted:
                    self._say(
                        stream,
                        log.info,
                        "source.consumers_deleted",
                        sums=["consumers"],
                        stream=stream,
                        consumers=deleted,
                    )
                if lost == _NOT_COUNTED:
                    raise ResponseError("Redis counts from 7.0 on what a group has read")
                if lost == _FORGOTTEN:
                    self._say(stream, log.warning, "source.trimming_unnoticed", stream=stream, cause=_COUNT_FORGOTTEN)
                else:
                    self.count_trimmed(stream, lost)
        except ResponseError as error:
            self._say(str(error), log.warning, "source.trimming_unnoticed", cause=str(error))
            self._inspect_at = float("inf")

    def count_trimmed(self, stream: str, count: int) -> None:
        """Count and log entries that are lost, if `count` is not 0."""
        if count:
            self.missed.events += count
            lost: dict[str, Any] = {"sums": ["lost"], "lost": count, "total": self.missed.events}
            self._say(stream, log.error, "source.entries_trimmed", stream=stream, **lost)

    def log_claiming_refused(self, cause: str) -> None:
        """Log that Redis is too old for XAUTOCLAIM, has it renamed, or forbids it."""
        text = f"{cause}: entries that are pending at a consumer which is gone wait for one of its name"
        self._say(cause, log.warning, "source.claiming_impossible", cause=text)

    def log_claimed(self, stream: str, entries: int) -> None:
        """Log that so many entries were taken over from another consumer."""
        self._say(stream, log.info, "source.claimed", sums=["entries"], stream=stream, entries=entries)

    def _say(self, subject: object, method: Callable[..., object], event: str, **fields: Any) -> None:
        """Log a line about `subject`, which others may cause again and again."""
        self._repeated.write((event, subject), method, event, source=self._source, **fields)


def refused(cause: str, stream: str, config: RedisStream) -> str:
    """Return why a command on `stream` was refused, and the remedy."""
    if cause.startswith("WRONGTYPE"):
        return f"{cause}: key {stream!r} holds no stream"
    return with_line(with_remedy(cause), config, keys=[literal(stream)])


def _now() -> bytes:
    return b"%d-0" % (time.time_ns() // 1_000_000)


def _later(entry_id: bytes, *others: bytes | None) -> bytes:
    return max([entry_id, *filter(None, others)], key=entry_order)
