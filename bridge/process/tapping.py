"""The taps of a bridge of several processes: orders open them in each, and their lines come together in the parent.

The lines share a pipe with the reports, which go first. A process whose parent does not read drops lines, and counts them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from bridge.config import Config
from bridge.delivery.taps import Taps, end_unless_known
from bridge.model.taps import MAX_TAPS, Dropped, Tap, TapFilter, TooManyTaps

#: So many bytes of lines are written to the pipe at once; a report waits for them.
_CHUNK: Final = 32 << 10
#: How long the processes may take to open a tap; one that hangs does not keep the others from tapping.
_OPEN_S: Final = 3.0
_LINE, _DROPPED = b"T", b"D"


class PipeTaps:
    """The taps that the parent has ordered in this process; `wake` is called when there is something for the pipe."""

    def __init__(self, taps: Taps, wake: Callable[[], None]) -> None:
        self._taps = taps
        self._wake = wake
        self._open: dict[int, Tap] = {}

    async def apply(self, wanted: Mapping[int, TapFilter]) -> None:
        """Let these taps be open, and no others."""
        for number in [number for number in self._open if number not in wanted]:
            self._taps.close(self._open.pop(number))
        for number, each in wanted.items():
            if number not in self._open:
                tap = self._open[number] = Tap(each)
                tap.wake, tap.ends_with_its_names = self._wake, False
                await self._taps.open(each, tap)

    def take(self) -> bytes:
        """Return the next lines for the pipe, some of each tap."""
        found = []
        for number, tap in self._open.items():
            for each in tap.take(_CHUNK // len(self._open)) if tap.waits else ():
                if isinstance(each, bytes):
                    found.append(b"%b%d %b" % (_LINE, number, each))
                else:
                    found.append(b"%b%d %d %d\n" % (_DROPPED, number, each.events, each.unexamined))
        return b"".join(found)


def is_tapped(line: bytes) -> bool:
    """Whether a line of the pipe is of a tap, and no report."""
    return line.startswith((_LINE, _DROPPED))


def read_tapped(line: bytes) -> tuple[int, bytes | Dropped]:
    """Return the tap's number, and the line or the number of dropped events.

    Raises:
        ValueError: the line is not whole.
    """
    number, _, rest = line[1:].partition(b" ")
    if not rest.endswith(b"\n"):
        raise ValueError(rest[:20])
    if line.startswith(_LINE):
        return int(number), rest
    events, unexamined = rest.split()
    return int(number), Dropped(int(events), int(unexamined))


class _Tapped(Protocol):
    """A child process, as far as taps are concerned."""

    def tap(self, taps: Mapping[int, TapFilter]) -> asyncio.Future[None] | None:
        """See `ChildProcess.tap`."""
        ...


class JoinedTaps:
    """The taps of a whole bridge, as its parent process has them."""

    def __init__(self) -> None:
        self._open: dict[int, Tap] = {}
        self._last = 0

    @property
    def wanted(self) -> dict[int, TapFilter]:
        """The filters of those that are open, by their numbers."""
        return {number: tap.wanted for number, tap in self._open.items()}

    async def open(self, wanted: TapFilter, children: Sequence[_Tapped]) -> Tap:
        """Begin to tap in all processes; the names are checked already.

        Raises:
            TooManyTaps: there is no place for another one.
        """
        if len(self._open) >= MAX_TAPS:
            raise TooManyTaps
        self._last += 1
        tap = self._open[self._last] = Tap(wanted)
        try:
            waiting = [done for child in children if (done := child.tap(self.wanted)) is not None]
            if waiting:
                await asyncio.wait(waiting, timeout=_OPEN_S)
        except BaseException:
            self.close(tap, children)
            raise
        return tap

    def close(self, tap: Tap, children: Sequence[_Tapped]) -> None:
        """End a tap whose reader has gone."""
        numbers = [number for number, each in self._open.items() if each is tap]
        for number in numbers:
            del self._open[number]
        if numbers:
            for child in children:
                child.tap(self.wanted)

    def take(self, number: int, tapped: bytes | Dropped) -> None:
        """Take what a process has seen for the tap with this number, which may have ended."""
        tap = self._open.get(number)
        if tap is None:
            return
        if isinstance(tapped, bytes):
            tap.put(tapped)
        else:
            tap.drop(tapped)

    def use(self, config: Config) -> None:
        """End the taps whose source or route a reload has removed; the readers close them."""
        for tap in self._open.values():
            end_unless_known(tap, config)

    def finish(self, code: str, cause: str) -> None:
        """End all of them, for a cause that their readers get."""
        for tap in self._open.values():
            tap.finish(code, cause)
