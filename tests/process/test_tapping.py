"""Taps of several processes: their lines share a pipe with the reports, and never keep these waiting."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping

import msgspec
import pytest

from bridge.config import Config
from bridge.delivery.observers import Observers
from bridge.delivery.taps import Taps
from bridge.model.state import ProcessState
from bridge.model.taps import MAX_LINE_BYTES, MAX_TAPS, Dropped, Tap, TapFilter, TooManyTaps
from bridge.process.child import Report, Reports
from bridge.process.tapping import JoinedTaps, PipeTaps, is_tapped, read_tapped
from bridge.routing.compiler import compile_routes
from tests.support.admin import until


class _Bridge:
    """As much of a bridge as a report needs."""

    def stuck(self) -> list[str]:
        return []

    def unready(self) -> str:
        return ""

    def snapshot(self) -> ProcessState:
        return ProcessState()

    def removed(self) -> dict[str, object]:
        return {}


def _taps() -> Taps:
    config = Config.model_validate({
        "sources": {"s": {"type": "mqtt", "url": "mqtt://localhost", "client_id": "c"}},
        "routes": [{"from": "s", "actor": "a"}],
    })  # fmt: skip
    taps = Taps(Observers())
    taps.use(config, compile_routes(config)[0])
    return taps


def _read(file: int) -> bytes:
    found = b""
    while True:
        try:
            found += os.read(file, 1 << 20)
        except BlockingIOError:
            return found


async def test_a_parent_that_does_not_read_loses_lines_and_no_report() -> None:
    """The lines are bounded, dropped and counted; the next report comes behind those that were being written."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    reports = Reports(writing)
    reports.taps = pipe = PipeTaps(_taps(), reports.flush_soon)
    await pipe.apply({7: TapFilter()})
    (tap,) = pipe._open.values()
    line = json.dumps({"x": "y" * 1000}).encode() + b"\n"
    count = 20_000
    for n in range(count):
        tap.put(line)
        if n % 100 == 0:
            await asyncio.sleep(0)
    reports.report_done(5)
    assert len(tap._waiting) * len(line) <= MAX_LINE_BYTES + len(line)
    assert len(reports._rest) < 200_000
    received = bytearray()

    def whole_lines() -> list[bytes]:
        received.extend(_read(reading))
        return [each for each in bytes(received).splitlines(keepends=True) if each.endswith(b"\n")]

    def reports_before(lines: list[bytes]) -> list[int]:
        return [place for place, each in enumerate(lines) if not is_tapped(each)]

    await until(lambda: reports_before(whole_lines()))
    (place,) = reports_before(whole_lines())
    assert msgspec.json.decode(whole_lines()[place], type=Report).done == 5
    assert place < 300  # only those that were in the pipe, or about to be

    def total() -> int:
        tapped = [read_tapped(each)[1] for each in whole_lines() if is_tapped(each)]
        return sum(1 if isinstance(each, bytes) else each.events for each in tapped)

    await until(lambda: total() == count)
    for file in (reading, writing):
        asyncio.get_running_loop().remove_writer(file)
        os.close(file)


async def test_a_parent_that_has_died_keeps_nobody_busy() -> None:
    """The lines go nowhere, and the event loop rests."""
    reading, writing = os.pipe()
    reports = Reports(writing)
    reports.taps = pipe = PipeTaps(_taps(), reports.flush_soon)
    await pipe.apply({1: TapFilter()})
    os.close(reading)
    (tap,) = pipe._open.values()
    tap.put(b"{}\n")
    await until(lambda: not reports._is_writing)
    os.close(writing)


async def test_orders_are_whole_sets() -> None:
    """Taps that are in none any more end, new ones begin, and the others go on."""
    taps = _taps()
    pipe = PipeTaps(taps, lambda: None)
    await pipe.apply({1: TapFilter(), 2: TapFilter(source="s")})
    first = pipe._open[1]
    first.put(b"{}\n")
    await pipe.apply({1: TapFilter(), 3: TapFilter()})
    assert pipe._open[1] is first
    assert list(pipe._open) == [1, 3]
    assert pipe.take() == b"T1 {}\n"
    pipe._open[3].drop(Dropped(4, 1))
    assert pipe.take() == b"D3 4 1\n"
    await pipe.apply({})
    assert not taps._open


@pytest.mark.parametrize("line", [b"T1 {", b"T {}\n", b"Tx {}\n", b"D1 x\n", b"D1 1 2 3\n", b"D1\n", b"T", b"D1 1 1"])
def test_half_a_line_is_no_line(line: bytes) -> None:
    """A process that was killed leaves one."""
    with pytest.raises(ValueError, match=r".*"):
        read_tapped(line)


class _Child:
    """A child process that notes its orders."""

    def __init__(self) -> None:
        self.orders: list[dict[int, TapFilter]] = []

    def tap(self, taps: Mapping[int, TapFilter]) -> asyncio.Future[None] | None:
        self.orders.append(dict(taps))
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


async def test_the_parent_joins_the_lines() -> None:
    """Of all processes; those of a tap that has ended are nobody's."""
    joined, children = JoinedTaps(), [_Child(), _Child()]
    wanted = TapFilter(source="s")
    tap = await joined.open(wanted, children)
    joined.take(1, b"{}\n")
    joined.take(1, Dropped(2))
    joined.take(99, b"{}\n")
    assert tap.take(100) == [b"{}\n", Dropped(2)]
    joined.close(tap, children)
    joined.close(tap, children)
    joined.take(1, b"{}\n")
    assert not tap.waits
    assert children[0].orders == children[1].orders == [{1: wanted}, {}]


async def test_the_parent_bounds_the_taps() -> None:
    """Eight, of all processes together."""
    joined = JoinedTaps()
    taps = [await joined.open(TapFilter(), []) for _ in range(MAX_TAPS)]
    with pytest.raises(TooManyTaps):
        await joined.open(TapFilter(), [])
    joined.close(taps[0], [])
    assert isinstance(await joined.open(TapFilter(), []), Tap)


async def test_a_process_that_hangs_keeps_no_tap_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are tapped after 3 s; here after a part of them."""
    monkeypatch.setattr("bridge.process.tapping._OPEN_S", 0.05)

    class _Hanging(_Child):
        def tap(self, taps: Mapping[int, TapFilter]) -> asyncio.Future[None] | None:
            super().tap(taps)
            return asyncio.get_running_loop().create_future()

    assert (await JoinedTaps().open(TapFilter(), [_Hanging(), _Child()])).end is None
