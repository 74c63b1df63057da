"""Events of taps as tests: made in a thread, one after another and with pauses, since one takes up to a quarter of a second."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final, NamedTuple

from bridge.delivery.tapped import TapLines, TestItem
from bridge.delivery.tapped_part import Part
from bridge.model.taps import Tap

#: So many events wait, of so many bytes together; others are dropped.
_MAX_WAITING: Final = 100
_MAX_BYTES: Final = 4 << 20
#: Pauses take so many times the CPU time of the tests.
_PAUSES: Final = 20


class _Waiting(NamedTuple):
    tap: Tap
    lines: TapLines
    item: TestItem


class TestMaker:
    """Makes the lines of the taps that want tests."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._size = 0
        self._making: asyncio.Task[None] | None = None

    def add(self, tap: Tap, lines: TapLines, part: Part, index: int) -> bool:
        """Let the event at `index` become a test for `tap`; return False where too many wait."""
        size = part.batch.events[index].size
        if len(self._waiting) >= _MAX_WAITING or self._size + size > _MAX_BYTES:
            return False
        self._waiting.append(_Waiting(tap, lines, lines.test_item(part, index)))
        self._size += size
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._make(), name="bridge:tap-tests")
        return True

    def forget(self, tap: Tap) -> None:
        """Make none for a tap whose reader has gone."""
        self._waiting = deque(each for each in self._waiting if each.tap is not tap)
        self._size = sum(each.item.event.size for each in self._waiting)

    async def _make(self) -> None:
        while self._waiting:
            tap, lines, item = self._waiting.popleft()
            self._size -= item.event.size
            line, took = await asyncio.to_thread(_timed, lines, item)
            tap.put(line)
            await asyncio.sleep(_PAUSES * took)


def _timed(lines: TapLines, item: TestItem) -> tuple[bytes, float]:
    begin = time.thread_time()
    line = lines.test(item)
    return line, time.thread_time() - begin
