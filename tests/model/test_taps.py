"""The ring of a tap: bounded in lines and bytes, and every event shown or counted."""

from __future__ import annotations

from bridge.model.taps import MAX_LINE_BYTES, MAX_LINES, Dropped, Tap, TapFilter


def _taken(tap: Tap) -> list[bytes | Dropped]:
    taken: list[bytes | Dropped] = []
    while more := tap.take(1 << 16):
        taken += more
    return taken


def test_the_ring_has_a_bound_in_lines() -> None:
    """A thousand lines wait; the others are counted, and said behind the last one."""
    tap = Tap(TapFilter())
    for n in range(MAX_LINES + 50):
        tap.put(b"%d\n" % n)
    assert _taken(tap) == [*(b"%d\n" % n for n in range(MAX_LINES)), Dropped(50)]
    assert not tap.waits


def test_the_ring_has_a_bound_in_bytes() -> None:
    """1 MiB and one line wait."""
    tap = Tap(TapFilter())
    line = b"x" * 100_000
    for _ in range(100):
        tap.put(line)
    lines = [each for each in _taken(tap) if isinstance(each, bytes)]
    assert sum(map(len, lines)) < MAX_LINE_BYTES + len(line)
    assert len(lines) > 5


def test_what_was_dropped_is_said_where_it_was() -> None:
    """Between the lines before and behind, as soon as there is room again; and at once where nothing waits."""
    tap = Tap(TapFilter())
    for _ in range(MAX_LINES):
        tap.put(b"a\n")
    tap.put(b"lost\n")
    tap.drop(Dropped(3, 1))
    tap.take(1)
    tap.put(b"b\n")
    assert _taken(tap)[-2:] == [Dropped(4, 1), b"b\n"]
    tap.drop(Dropped(2))
    assert tap.waits
    assert tap.take(1) == [Dropped(2)]
    assert tap.take(1) == []


def test_a_take_is_bounded() -> None:
    """It takes so many bytes and the rest of one line; the order stays."""
    tap = Tap(TapFilter())
    for n in range(10):
        tap.put(b"%d" % n * 10)
    assert [each[:1] for each in tap.take(25) if isinstance(each, bytes)] == [b"0", b"1", b"2"]
    assert len(_taken(tap)) == 7


def test_its_reader_is_woken() -> None:
    """By a line, by a number of dropped events, and by the end; after the end nothing more comes."""
    woken: list[str] = []
    tap = Tap(TapFilter())
    tap.wake = lambda: woken.append("x")
    tap.put(b"a\n")
    tap.drop(Dropped(0))
    tap.drop(Dropped(1))
    tap.finish("stop", "the bridge stops")
    tap.finish("reload", "too late")
    assert len(woken) == 3
    assert tap.end == ("stop", "the bridge stops")
    tap.put(b"b\n")
    tap.drop(Dropped(1))
    assert _taken(tap) == [b"a\n", Dropped(1)]
