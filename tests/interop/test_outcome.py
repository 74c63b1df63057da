"""How an experiment's failures become the outcome of each source, in the table of brokers."""

from __future__ import annotations

from tests.interop.outcome import HELD, Outcome, Report, Witness, judge

_FAST, _LIBRARY = "mqtt-5-fast", "mqtt-5-library"


def _missed(*numbers: int, since: int = 0) -> Witness:
    return Witness(since, frozenset(numbers))


def test_without_a_failure_a_source_has_held() -> None:
    """Nothing is missing, nothing has failed: held."""
    assert judge(_FAST, [], []) == HELD


def test_a_lost_event_is_a_failure_with_its_number() -> None:
    """An event that the broker has confirmed and that is missing fails the run."""
    outcome = judge(_FAST, [f"{_FAST}: lost 2 of 300: 7-8"], [7, 8])
    assert (str(outcome), outcome.failed) == ("LOST: 2, of which the broker has not lost 7-8", True)


def test_an_event_that_a_plain_client_misses_too_is_the_brokers_loss() -> None:
    """Both subscribers of the broker miss these events: it has lost them itself."""
    outcome = judge(_FAST, [f"{_FAST}: lost 2 of 300: 7-8"], [7, 8], _missed(6, 7, 8))
    assert (str(outcome), outcome.failed) == ("broker: loses events itself: 2, a plain client misses 3", False)


def test_an_event_that_a_plain_client_has_seen_is_the_bridges_loss() -> None:
    """An event that the plain client misses excuses no other one."""
    failures = [f"{_FAST}: lost 2 of 300: 7-8"]
    assert judge(_FAST, failures, [7, 8], _missed(7)).verdict == "LOST"
    assert judge(_FAST, failures, [8], _missed(7)).verdict == "LOST"


def test_of_events_before_a_plain_client_as_many_are_the_brokers_as_it_misses() -> None:
    """Their numbers cannot be compared: the client was not there yet."""
    failures = [f"{_FAST}: lost 2 of 300: 1-2"]
    assert judge(_FAST, failures, [1, 2], _missed(20, 21, since=10)).verdict == "broker"
    assert judge(_FAST, failures, [1, 2], _missed(20, since=10)).verdict == "LOST"
    assert judge(_FAST, failures, [1, 20], _missed(20, since=10)).verdict == "LOST"


def test_a_plain_client_that_saw_nothing_proves_nothing() -> None:
    """It excuses no loss, and the check fails: neither the broker nor the bridge was tried."""
    blind = Witness(missed=frozenset(range(300)), blind=True)
    assert judge(_FAST, [f"{_FAST}: lost 1 of 300: 7"], [7], blind).verdict == "FAILED"
    assert judge(_FAST, [], [], blind).verdict == "FAILED"


def test_events_that_were_not_acknowledged_to_a_broker_that_forgets_are_its_loss() -> None:
    """A kill loses all that mosquitto held; an event that the bridge had acknowledged is no such one."""
    failures, witness = [f"{_FAST}: lost 1 of 300: 299"], Witness(forgotten=frozenset({298, 299}))
    outcome = judge(_FAST, failures, [299], witness)
    assert str(outcome) == "broker: has forgotten all sessions, a plain client's too: 1 events were under way"
    assert judge(_FAST, failures, [7, 299], witness).verdict == "LOST"


def test_the_brokers_own_loss_excuses_no_other_failure() -> None:
    """Duplicates beyond the promise fail the run, whatever the broker loses."""
    failures = [f"{_FAST}: lost 1 of 300: 7", f"{_FAST}: 500 duplicates, at most 100 allowed: 0-499"]
    assert judge(_FAST, failures, [7], _missed(7)).failed


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
