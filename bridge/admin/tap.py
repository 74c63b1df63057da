"""`GET /tap`: the events of a running bridge as lines of JSON, as they get their outcome.

The first line repeats the filter and says whether contents are shown. Then comes a line for each event, `{"dropped": n}` where
events were left out, with `ended_processes` where a process took the last ones with it, and `{"keepalive": time}` in silence.
The last line has `end` and its cause.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from bridge.admin.access import Refused
from bridge.admin.answers import Answer, Streamed, parameters
from bridge.config import parse_duration
from bridge.errors import InvalidValue
from bridge.model.control import Controlled
from bridge.model.taps import MAX_TAPS, NOTHING_DROPPED, Dropped, Tap, TapFilter, TooManyTaps, UnknownTapName

LINES: Final = "application/jsonl; charset=utf-8"
#: After so long without a line there is one that only says that the bridge is there.
KEEPALIVE_S: Final = 15.0
#: A client may stop reading for so long, as a person who reads a page of `less` does; it loses lines meanwhile.
_STALL_S: Final = 300.0
#: How long the taps have for their last lines once the bridge stops.
_FINISH_S: Final = 0.5
#: Between two sends of a tap that had nothing more to send.
_GATHER_S: Final = 0.05
_PART: Final = 64 << 10
_MAX_LIMIT: Final = 1_000_000_000
_MAX_MS: Final = 7 * 86_400_000
_HIDDEN: Final = "bodies, headers and arguments are shown with the token of the bridge, or over its Unix socket"

_encode: Final = msgspec.json.Encoder().encode


@dataclass(slots=True, eq=False)
class _Reading:
    """A client that reads a tap: `limit` is the number of events, 0 for no end; `seconds` the time, None for no end."""

    tap: Tap
    limit: int
    seconds: float | None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    shown: int = 0
    dropped: Dropped = NOTHING_DROPPED

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """Yield the lines, some at once."""
        loop = asyncio.get_running_loop()
        end_at = None if self.seconds is None else loop.time() + self.seconds
        yield _first(self.tap.wanted)
        while True:
            self.news.clear()
            taken = self.tap.take(_PART)
            if taken and (part := self._part(taken)):
                yield part
            if self.limit and self.shown >= self.limit:
                yield self._last("limit", f"it has shown {self.limit} event{'s' if self.limit != 1 else ''}")
                return
            if end_at is not None and loop.time() >= end_at:
                yield self._last("for", f"its time of {self.seconds:g} s is over")
                return
            if taken:
                if not self.tap.waits and self.tap.end is None:
                    # A flood has a line for each batch: twenty sends a second are enough.
                    await asyncio.sleep(_GATHER_S)
                continue
            if self.tap.end is not None:
                yield self._last(*self.tap.end)
                return
            if not await self._wait(end_at):
                yield _encode({"keepalive": _now()}) + b"\n"

    def _part(self, taken: list[bytes | Dropped]) -> bytes:
        """Return the lines up to the limit."""
        lines = []
        for each in taken:
            if self.limit and self.shown >= self.limit:
                break
            if isinstance(each, bytes):
                self.shown += 1
                lines.append(each)
            else:
                self.dropped = self.dropped.plus(each)
                lines.append(_encode(_counted(each)) + b"\n")
        return b"".join(lines)

    async def _wait(self, end_at: float | None) -> bool:
        """Wait for news, or for the end; return False if there was neither for a while."""
        silent_at = asyncio.get_running_loop().time() + KEEPALIVE_S
        try:
            async with asyncio.timeout_at(silent_at if end_at is None else min(end_at, silent_at)):
                await self.news.wait()
        except TimeoutError:
            return end_at is not None and end_at <= silent_at
        return True

    def _last(self, code: str, cause: str) -> bytes:
        return _encode({"end": code, "cause": cause, "shown": self.shown, **_counted(self.dropped)}) + b"\n"


class TapEndpoint:
    """The taps of one server."""

    def __init__(self, controlled: Controlled) -> None:
        self._controlled = controlled
        self._readings: set[_Reading] = set()

    async def tap(self, query: str, *, contents: bool) -> Answer | Streamed:
        """Answer /tap; `contents` says whether the client may see them.

        Raises:
            Refused: the query has a mistake, or there is no place for another tap.
        """
        given = parameters(query, "source", "route", "topic", "limit", "for", "as")
        limit, seconds = _limit(given.get("limit")), _seconds(given.get("for"))
        if given.get("as", "lines") not in {"lines", "test"}:
            raise Refused(400, "as is lines or test")
        as_test = given.get("as") == "test"
        if as_test and not contents:
            raise Refused(403, f"a test has the contents of its event: {_HIDDEN}")
        wanted = TapFilter(
            given.get("source", ""), given.get("route", ""), given.get("topic", ""), contents=contents, as_test=as_test
        )
        try:
            tap = await self._controlled.tap(wanted)
        except UnknownTapName as error:
            cause = f"no {error.kind} has this name"
            return Answer.json(404, {"cause": cause, "name": error.name, "known": error.known})
        except TooManyTaps:
            raise Refused(503, f"{MAX_TAPS} taps are open: end one of them", {"Retry-After": "5"}) from None
        except InvalidValue as error:
            raise Refused(400, f"topic: {error}") from None
        reading = _Reading(tap, limit, seconds)
        tap.wake = reading.news.set
        self._readings.add(reading)

        def end() -> None:
            self._readings.discard(reading)
            reading.ended.set()
            self._controlled.untap(tap)

        return Streamed(LINES, reading.parts(), on_end=end, stall_s=_STALL_S)

    def revoke(self) -> None:
        """End the taps that show contents: the token is another one."""
        for reading in self._readings:
            if reading.tap.wanted.contents:
                reading.tap.finish("token", "a reload has changed the token")

    async def finish(self) -> None:
        """Wait a moment for the last lines of the taps that have ended."""
        waiting = [asyncio.create_task(each.ended.wait()) for each in self._readings if each.tap.end is not None]
        if waiting:
            await asyncio.wait(waiting, timeout=_FINISH_S)
            for each in waiting:
                each.cancel()


def _first(wanted: TapFilter) -> bytes:
    filters = {name: value for name in ("source", "route", "topic") if (value := getattr(wanted, name))}
    contents: Mapping[str, Any] = {"contents": "shown"} if wanted.contents else {"contents": "hidden", "cause": _HIDDEN}
    return _encode({"tap": filters, "at": _now(), **contents}) + b"\n"


def _counted(dropped: Dropped) -> dict[str, int]:
    further = {"unexamined": dropped.unexamined, "ended_processes": dropped.ended_processes}
    return {"dropped": dropped.events, **{name: count for name, count in further.items() if count}}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _limit(text: str | None) -> int:
    if text is None:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and 1 <= int(text) <= _MAX_LIMIT):
        raise Refused(400, f"limit takes a number of events from 1 to {_MAX_LIMIT}")
    return int(text)


def _seconds(text: str | None) -> float | None:
    """Return a time in seconds: of a duration, or of a number of seconds."""
    if text is None:
        return None
    try:
        milliseconds = parse_duration(f"{text}s" if text.isascii() and text.isdecimal() else text)
    except ValueError as error:
        raise Refused(400, f"for: {error}") from None
    if not 0 < milliseconds <= _MAX_MS:
        raise Refused(400, "for takes a duration of at most seven days, as in for=30s")
    return milliseconds / 1000
