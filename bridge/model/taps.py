"""A tap: somebody looks at the events of a running bridge once they have their outcome, and never slows them.

Its lines wait in a ring of bounded size. Whoever reads too slowly loses lines, and gets their number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

#: The lines of one tap that wait for their reader, in number and bytes.
MAX_LINES: Final = 1_000
MAX_LINE_BYTES: Final = 1 << 20
#: So many taps are open at once.
MAX_TAPS: Final = 8


class TapFilter(msgspec.Struct, frozen=True):
    """The events that a tap wants: of a source, that a route's topic fits, whose topic fits a glob; "" takes all.

    `contents` says whether it may see bodies, headers, arguments and other values of events; `as_test`, whether it gets each
    event as a test of the configuration.
    """

    source: str = ""
    route: str = ""
    topic: str = ""
    contents: bool = False
    as_test: bool = False


class UnknownTapName(Exception):
    """There is no such source or route; `kind` is either, and `known` are the names that there are."""

    def __init__(self, kind: str, name: str, known: Sequence[str]) -> None:
        super().__init__(f"no {kind} has the name {name!r}; there are {', '.join(known)}")
        self.kind = kind
        self.name = name
        self.known = list(known)


class TooManyTaps(Exception):
    """So many taps are open that there is no place for another."""


class Dropped(NamedTuple):
    """Events that a tap did not get: `events` fit its filter; nobody had the time to compare the `unexamined` with it.

    Nobody knows how many events the `ended_processes` had seen and not passed on: each of them was killed, or failed.
    """

    events: int
    unexamined: int = 0
    ended_processes: int = 0

    def plus(self, other: Dropped) -> Dropped:
        """Return the sums."""
        return Dropped(*(ours + theirs for ours, theirs in zip(self, other, strict=True)))


class TapEnd(NamedTuple):
    """The end of a tap: a code for machines (`stop`, `reload`, `token`), and the cause for people."""

    code: str
    cause: str


#: The end of every tap of a bridge that stops.
STOPPED: Final = TapEnd("stop", "the bridge stops")
NOTHING_DROPPED: Final = Dropped(0)


class Tap:
    """One tap: `put` and `drop` fill it, `take` empties it, and `wake` is called whenever there is something to take."""

    def __init__(self, wanted: TapFilter) -> None:
        self.wanted = wanted
        self.wake: Callable[[], None] = lambda: None
        #: Whether a reload ends it that removes its source or route; in a child process the parent decides.
        self.ends_with_its_names = True
        #: Set once nothing more comes.
        self.end: TapEnd | None = None
        self._waiting: deque[bytes | Dropped] = deque()
        self._size = 0
        #: What was dropped behind everything that waits.
        self._dropped = NOTHING_DROPPED

    @property
    def has_room(self) -> bool:
        """Whether a line more would be taken; only then it is worth making one."""
        return self.end is None and len(self._waiting) < MAX_LINES and self._size < MAX_LINE_BYTES

    @property
    def waits(self) -> bool:
        """Whether there is something to take."""
        return bool(self._waiting or self._dropped != NOTHING_DROPPED)

    def put(self, line: bytes) -> None:
        """Take the line of one event in, or count it as dropped."""
        if not self.has_room:
            self.drop(Dropped(1))
            return
        if self._dropped != NOTHING_DROPPED:
            self._waiting.append(self._dropped)
            self._dropped = NOTHING_DROPPED
        self._waiting.append(line)
        self._size += len(line)
        self.wake()

    def drop(self, dropped: Dropped) -> None:
        """Count events that it does not get."""
        if self.end is None and dropped != NOTHING_DROPPED:
            self._dropped = self._dropped.plus(dropped)
            self.wake()

    def take(self, max_bytes: int) -> list[bytes | Dropped]:
        """Return the oldest that waits, of at most so many bytes but for the last line; all in the order of the events."""
        taken: list[bytes | Dropped] = []
        size = 0
        while self._waiting and size < max_bytes:
            each = self._waiting.popleft()
            size += len(each) if isinstance(each, bytes) else 0
            taken.append(each)
        self._size -= size
        if not self._waiting and self._dropped != NOTHING_DROPPED:
            taken.append(self._dropped)
            self._dropped = NOTHING_DROPPED
        return taken

    def finish(self, code: str, cause: str) -> None:
        """End it; the lines that wait can still be taken."""
        if self.end is None:
            self.end = TapEnd(code, cause)
            self.wake()
