"""The waits of a retry loop."""

from __future__ import annotations

import time

import pytest

from bridge.backoff import Backoff


def test_waits_double_with_jitter_up_to_the_bound() -> None:
    """Each wait is between half of its doubled value and the whole of it, never longer than `max_s`; `reset` begins anew."""
    backoff = Backoff(first_s=0.05, max_s=2.0)
    for _ in range(2):
        for whole in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, *[2.0] * 100):
            assert whole / 2 <= backoff.next() <= whole
        backoff.reset()


def test_a_refused_password_or_permission_is_tried_again_after_5_s() -> None:
    """Credentials and permissions need a person: even the first wait is 5 s, a longer one stays as it is."""
    assert Backoff(first_s=0.05, max_s=2.0).next(denied=True) == 5.0
    assert 10 <= Backoff(first_s=20.0, max_s=20.0).next(denied=True) <= 20


def elapse(monkeypatch: pytest.MonkeyPatch, backoff: Backoff, seconds: float) -> list[float]:
    """Return the waits of attempts that fail at once for so long."""
    waits, now = [], time.monotonic()
    end = now + seconds
    while now < end:
        monkeypatch.setattr(time, "monotonic", lambda now=now: now)
        waits.append(backoff.next())
        now += waits[-1]
    monkeypatch.undo()
    return waits


def test_the_wait_for_a_neighbour_that_stays_broken_grows_to_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 5 s for the first two minutes, so that a source is soon back after a restart; then doubled up to a minute."""
    waits = elapse(monkeypatch, Backoff(first_s=0.2, max_s=5.0, lasting_max_s=60.0), 3600)
    first = [wait for number, wait in enumerate(waits) if sum(waits[:number]) < 120]
    assert max(first) <= 5.0
    for number, whole in enumerate((10.0, 20.0, 40.0, *[60.0] * 20), start=len(first)):
        assert whole / 2 <= waits[number] <= whole


def test_a_loop_that_everything_waits_for_stays_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a bound of its own for outages that last, the bound is one for ever: the sink's, for example."""
    assert max(elapse(monkeypatch, Backoff(first_s=0.05, max_s=2.0), 3600)) <= 2.0


def test_after_a_success_everything_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """After one that lasted the waits begin anew too; after one that did not they go on doubling, up to the first bound."""
    backoff = Backoff(first_s=0.2, max_s=5.0, lasting_max_s=60.0)
    elapse(monkeypatch, backoff, 600)
    backoff.interrupt()
    assert 2.5 <= backoff.next() <= 5.0
    elapse(monkeypatch, backoff, 600)
    backoff.reset()
    assert max(elapse(monkeypatch, backoff, 119)) <= 5.0
    backoff.reset()
    assert backoff.next() <= 0.2
