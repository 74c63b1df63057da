"""The accounts of a process that has died and lives again: every event keeps exactly one class."""

from __future__ import annotations

from bridge.model.accounting import Counts
from bridge.model.state import ProcessState, SinkState, SourceState
from bridge.process.earlier_lives import EarlierLives


def _life(counts: Counts, **more: int) -> ProcessState:
    return ProcessState({"s": SourceState("mqtt", connected=True, counts=counts, **more)})  # type: ignore[arg-type]


def _source(lives: EarlierLives, present: ProcessState) -> SourceState:
    source = lives.with_present(present).sources["s"]
    assert source.accounting_error == 0
    return source


def test_the_events_in_flight_of_a_dead_process_are_returned_or_lost() -> None:
    """Five were in flight, two of which nobody redelivers."""
    lives = EarlierLives()
    lives.add(_life(Counts(received=10, enqueued=5), in_flight=5, perishable=2))
    assert _source(lives, ProcessState()).counts == Counts(received=10, enqueued=5, returned=3, lost=2)
    after = _source(lives, _life(Counts(received=4, enqueued=3), in_flight=1))
    assert after.counts == Counts(received=14, enqueued=8, returned=3, lost=2)
    assert (after.in_flight, after.reconnects, after.connected) == (1, 1, True)


def test_a_process_that_is_being_started_again_has_its_counts() -> None:
    """It has no connection meanwhile, and its spooled events wait on the disk."""
    lives = EarlierLives()
    lives.add(_life(Counts(received=10, enqueued=4), spooled=6))
    source = _source(lives, ProcessState())
    assert (source.connected, source.spooled, source.counts.received) == (False, 6, 10)
    # It lives, and its spool is not open yet.
    source = _source(lives, _life(Counts()))
    assert (source.spooled, source.counts.recovered) == (6, 0)


def test_spooled_events_that_the_next_life_finds_came_once() -> None:
    """Six were left: five are found, one was written just before the death. Of an older run there was one more before."""
    lives = EarlierLives()
    lives.add(_life(Counts(received=10, recovered=1, enqueued=5), spooled=6))
    after = _source(lives, _life(Counts(recovered=5, enqueued=2), spooled=3))
    assert after.counts == Counts(received=10, recovered=1, enqueued=8)
    assert after.spooled == 3


def test_spooled_events_that_no_report_has_told_of_are_recovered() -> None:
    """Two more than the last report says were spooled before the death: nobody has counted them."""
    lives = EarlierLives()
    lives.add(_life(Counts(received=4), spooled=4))
    after = _source(lives, _life(Counts(recovered=6), spooled=6))
    assert after.counts == Counts(received=4, recovered=2)


def test_a_third_life_adds_up_as_the_second_does() -> None:
    """Also one that died before its spool was open."""
    lives = EarlierLives()
    lives.add(_life(Counts(received=10, enqueued=4), spooled=6))
    lives.add(_life(Counts()))
    lives.add(_life(Counts(recovered=6, enqueued=2), spooled=4))
    after = _source(lives, _life(Counts(recovered=4, received=1, enqueued=5), spooled=0))
    assert after.counts == Counts(received=11, enqueued=11)


def test_what_only_grows_goes_on() -> None:
    """Events that nobody saw, gaps, and the processor's time: a counter that falls would be taken for a new one."""
    lives = EarlierLives()
    ended = _life(Counts(), missed=3, gaps=1)
    ended.cpu_s, ended.lines_left_out, ended.memory_bytes, ended.spool_fill = 2.0, 5, 100, 0.5
    lives.add(ended)
    present = _life(Counts(), missed=1)
    present.cpu_s, present.memory_bytes, present.spool_fill = 0.5, 70, 0.25
    now = lives.with_present(present)
    assert (now.sources["s"].missed, now.sources["s"].gaps) == (4, 1)
    assert (now.cpu_s, now.lines_left_out, now.memory_bytes, now.spool_fill) == (2.5, 5, 70, 0.25)


def test_the_sink_is_as_the_present_life_sees_it() -> None:
    """Only what is counted goes on."""
    lives = EarlierLives()
    lives.add(ProcessState(sink=SinkState(available=False, cause="away", retries=3)))
    now = lives.with_present(ProcessState(sink=SinkState(retries=1)))
    assert (now.sink.available, now.sink.cause, now.sink.retries) == (True, "", 4)
