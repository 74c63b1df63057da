"""The states of a bridge as they follow each other, for the page: Server-sent events, made and encoded once for all readers.

The first event, `state`, has everything. Each `change` after it has the head, and of sources, routes, queues and counts only
those that differ from the state before: a bridge of thousands of routes, most of which rest, costs its readers little.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final

import msgspec

from bridge.admin.status import whole
from bridge.model.state import SECONDS_BUCKETS, BridgeState

#: Between two events.
INTERVAL_S: Final = 1.0
#: The next state is made once so many times the processor's time that the last one took have passed.
_PAUSES: Final = 4
#: The parts that are sent as far as they have changed. `counts` has, by the route, its matched, filtered,
#: dead-lettered, expired and deduplicated.
_PARTS: Final = ("sources", "routes", "queues", "counts")
_COUNTED: Final = ("matched", "filtered", "dead_lettered", "expired", "deduplicated")

Parts = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Moment:
    """One state, numbered. `head` is small, and sent each time."""

    number: int
    head: Mapping[str, Any]
    parts: Parts
    before: Parts

    @cached_property
    def state(self) -> bytes:
        """The event with everything."""
        return _event("state", {"number": self.number, **self.head, **self.parts})

    @cached_property
    def change(self) -> bytes:
        """The event with the difference to the state before."""
        changed: dict[str, Any] = {}
        removed: dict[str, list[str]] = {}
        for part in _PARTS:
            old, new = self.before.get(part, {}), self.parts[part]
            if differing := {name: value for name, value in new.items() if old.get(name) != value}:
                changed[part] = differing
            if gone := [name for name in old if name not in new]:
                removed[part] = gone
        return _event("change", {"number": self.number, **self.head, **changed, "removed": removed})


class Feed:
    """Follows one bridge while somebody reads."""

    def __init__(self, take: Callable[[], BridgeState]) -> None:
        self._take = take
        self._newest: Moment | None = None
        self._due = 0.0

    async def follow(self, greeting: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        """Yield the greeting, and the events of one reader for ever. One who reads too slowly gets everything again."""
        yield b"retry: 2000\n" + _event("hello", greeting)
        seen = 0
        while True:
            moment = await self._after(seen)
            yield moment.change if seen and moment.number == seen + 1 else moment.state
            seen = moment.number

    async def _after(self, seen: int) -> Moment:
        """Return the newest state, once it is newer than the one of this number."""
        while True:
            now = time.monotonic()
            if self._newest is None or now >= self._due:
                self._newest = self._make(self._newest)
            if self._newest.number > seen:
                return self._newest
            await asyncio.sleep(max(0.0, self._due - now))

    def _make(self, last: Moment | None) -> Moment:
        begin, cost = time.monotonic(), time.thread_time()
        head, parts = split(self._take())
        moment = Moment(1 if last is None else last.number + 1, head, parts, {} if last is None else last.parts)
        _ = moment.change  # its cost counts
        # Of two readers who wake at once the second one finds it made.
        self._due = begin + max(INTERVAL_S, _PAUSES * (time.thread_time() - cost))
        return moment


def split(state: BridgeState) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the head and the parts of a state, without secrets."""
    shown = whole(state)
    parts: dict[str, dict[str, Any]] = {part: shown.pop(part, {}) for part in _PARTS}
    del shown["bounds"]
    for source in parts["sources"].values():
        # Those of the routes are in `counts`.
        source["counts"] = {name: value for name, value in asdict(source["counts"]).items() if name != "routes"}
        del source["identity"]
    for name, route in parts["routes"].items():
        parts["counts"][name] = [route.pop(count) for count in _COUNTED]
    at = {"at": time.monotonic(), "now": time.time(), "seconds": SECONDS_BUCKETS}
    return {**at, **shown}, parts


def _event(name: str, value: Mapping[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(value))
