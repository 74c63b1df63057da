"""Readiness in words: each cause has a line with the name of the source or the sink, and a pause is no cause."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bridge.admin.readiness import notes, problems
from bridge.model.state import BridgeState, SourceState
from bridge.observe.masking import set_secrets
from tests.support.admin import state_of


def _plant(change: Callable[[SourceState], object]) -> BridgeState:
    state = state_of()
    change(state.sources["plant"])
    return state


def _set(**values: object) -> Callable[[SourceState], None]:
    def change(source: SourceState) -> None:
        for name, value in values.items():
            setattr(source, name, value)

    return change


def test_a_healthy_bridge_is_ready() -> None:
    """No problem, no note."""
    assert problems(state_of()) == notes(state_of()) == []


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (state_of(phase="starting"), "the bridge starts: not everything was connected yet"),
        (
            state_of(phase="draining"),
            "the bridge stops: it takes no new events, and finishes those that it has received",
        ),
        (state_of(expected=4, processes=3), "processes: 3 of 4 are ready"),
        (state_of(expected=4, processes=1), "processes: 1 of 4 is ready"),
        (state_of(expected=1, processes=0), "processes: 0 of 1 are ready"),
        (_plant(_set(connected=False)), "source plant: not connected"),
        (_plant(_set(connected=False, cause="refused")), "source plant: not connected: refused"),
        (_plant(_set(connected=False, pressure=True)), "source plant: not connected"),
        (
            _plant(_set(stuck=True, unacknowledged_s=35.4)),
            "source plant: stuck: it holds events, and a new connection did not help: none was acknowledged for 35 s",
        ),
        (_plant(_set(stuck=True)), "source plant: stuck: it holds events, and a new connection did not help"),
    ],
)
def test_each_cause_has_a_line(state: BridgeState, expected: str) -> None:
    """It names the source, the cause, and the numbers that are known."""
    assert problems(state) == [expected]


def test_the_sink_has_its_lines() -> None:
    """One where it takes no writes, one where it must have none."""
    state = state_of()
    state.sink.available, state.sink.cause, state.sink.unready = False, "OOM", "it evicts keys"
    assert problems(state) == ["sink: it takes no writes: OOM", "sink: it must not be used: it evicts keys"]


def test_all_causes_are_named_at_once() -> None:
    """Whoever is on call sees all of them."""
    state = state_of(phase="starting", expected=2)
    state.sink.available = False
    for source in state.sources.values():
        source.connected = False
    assert len(problems(state)) == 5


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (_set(paused=True, connected=False, cause="paused"), "source plant: paused by a person"),
        (_set(paused=True, stuck=True), "source plant: paused by a person"),
        (_set(pressure=True), "source plant: paused by backpressure: a queue or Redis is full"),
        (_set(pressure=True, stuck=True), "source plant: paused by backpressure: a queue or Redis is full"),
    ],
)
def test_a_paused_source_is_no_problem(change: Callable[[SourceState], object], note: str) -> None:
    """It is a note: the bridge does as it should."""
    state = _plant(change)
    assert (problems(state), notes(state)) == ([], [note])


def test_a_source_behind_a_paused_route_is_no_problem() -> None:
    """It acknowledges nothing, as it should; another source that is stuck is a problem all the same."""
    state = state_of()
    state.routes["c"].paused = True
    state.sources["plant"].stuck = True
    assert problems(state) == []
    assert notes(state) == ["route c: paused by a person; source plant waits behind it"]
    state.sources["orders"].stuck = True
    assert len(problems(state)) == 1


def test_a_cause_is_one_harmless_line() -> None:
    """A broker's words forge no line, are short, and hold no secret of the bridge; nor does a name forge one."""
    set_secrets(["hunter2-hunter2"])
    try:
        state = _plant(_set(connected=False, cause="no\nready\x1b[2J hunter2-hunter2 " + "x" * 10_000))
        state.sources["a\nready"] = SourceState("amqp", paused=True)
        (line,) = problems(state)
        assert line.startswith(r"source plant: not connected: no\nready\x1b[2J *** x")
        assert len(line) < 300
        assert notes(state) == [r"source a\nready: paused by a person"]
    finally:
        set_secrets([])
