"""How an experiment's failures become the outcome of each source, in the table of brokers."""

from __future__ import annotations

from tests.interop.outcome import HELD, Outcome, Report, judge

_FAST, _LIBRARY = "mqtt-5-fast", "mqtt-5-library"


def test_without_a_failure_a_source_has_held() -> None:
    """Nothing is missing, nothing has failed: held."""
    assert judge(_FAST, [], []) == HELD


def test_a_lost_event_is_a_failure_with_its_number() -> None:
    """An event that the broker has confirmed and that is missing fails the run."""
    outcome = judge(_FAST, [f"{_FAST}: lost 2 of 300: 7-8"], [7, 8])
    assert (str(outcome), outcome.failed) == ("LOST: 2, a plain client 0", True)


def test_an_event_that_a_plain_client_misses_too_is_the_brokers_loss() -> None:
    """Both subscribers of the broker miss events: it has lost them itself."""
    outcome = judge(_FAST, [f"{_FAST}: lost 2 of 300: 7-8"], [7, 8], 3)
    assert (str(outcome), outcome.failed) == ("broker: loses events itself: 2, of a plain client's 3", False)


def test_many_more_than_a_plain_client_misses_are_the_bridges_loss() -> None:
    """One event that the plain client misses excuses no hundred."""
    outcome = judge(_FAST, [f"{_FAST}: lost 100 of 300: 0-99"], list(range(100)), 1)
    assert (str(outcome), outcome.failed) == ("LOST: 100, a plain client 1", True)


def test_events_under_way_to_a_broker_that_forgets_its_sessions_are_its_loss() -> None:
    """A kill loses all that mosquitto had not delivered; an event that was delivered long before is no such one."""
    failures, under_way = [f"{_FAST}: lost 1 of 300: 299"], range(200, 300)
    outcome = judge(_FAST, failures, [299], 0, under_way)
    assert str(outcome) == "broker: has forgotten all sessions, a plain client's too: 1 events were under way"
    assert judge(_FAST, failures, [7, 299], 0, under_way).verdict == "LOST"


def test_the_brokers_own_loss_excuses_no_other_failure() -> None:
    """Duplicates beyond the promise fail the run, whatever the broker loses."""
    failures = [f"{_FAST}: lost 1 of 300: 7", f"{_FAST}: 500 duplicates, at most 100 allowed: 0-499"]
    assert judge(_FAST, failures, [7], 1).failed


def test_a_failure_of_one_source_is_none_of_another() -> None:
    """The failures of an experiment are told apart by their source; those of none in particular are everybody's."""
    assert judge(_LIBRARY, [f"{_FAST}: lost 1 of 300: 7"], []) == HELD
    assert judge(_LIBRARY, ["bridge 0 ended with exit code 1"], []) == Outcome(
        "FAILED", "bridge 0 ended with exit code 1"
    )


def test_a_broker_that_cannot_do_something_does_not_fail_the_run() -> None:
    """What a broker cannot give, and what the bridge refuses in words, are columns of the table."""
    report = Report("some-broker", frozenset({"mqtt-5"}))
    report.outcomes["shared"] = {
        _FAST: Outcome("refused", "no shared subscriptions"),
        _LIBRARY: Outcome("broker", "no"),
    }
    assert not report.failed
    report.outcomes["events"] = {_FAST: HELD, _LIBRARY: Outcome("LOST", "1")}
    assert report.failed


def test_a_broker_that_could_not_be_had_fails_the_run() -> None:
    """A table with a hole is no green run."""
    assert Report("some-broker", frozenset({"redis"}), unavailable="no such package").failed
