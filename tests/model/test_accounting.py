"""The accounts: every event is counted once, by its outcome."""

from __future__ import annotations

import pytest

from bridge.model.accounting import Accounts, Counts, Outcome
from bridge.model.batch import Batch, Written
from bridge.model.event import Event


def _event(token: object = None) -> Event:
    return Event("s", "t", b"{}", 0, token)


def _batch(*tokens: object) -> Batch:
    return Batch([_event(token) for token in tokens])


def test_a_written_batch_is_counted_as_routing_and_redis_said() -> None:
    """Redis refused one event that was routed: it is a dead letter then."""
    accounts = Accounts(redelivers=True)
    batch = _batch(1, 2, 3)
    batch.written = Written(messages=2, duplicates=1, refused=1)
    accounts.record(batch, Counts(received=3, routed=2, filtered=1), Outcome.WRITTEN)
    assert accounts.counts == Counts(received=3, routed=1, filtered=1, dead_lettered=1, messages=2, duplicates=1)


def test_a_spooled_batch_is_not_counted_yet() -> None:
    """It is counted once it is replayed."""
    accounts = Accounts(redelivers=False)
    accounts.record(_batch(None, None), None, Outcome.SPOOLED)
    assert accounts.counts == Counts()


@pytest.mark.parametrize(
    ("redelivers", "tokens", "outcome", "counts"),
    [
        (True, (1, 2), Outcome.RETURNED, Counts(received=2, returned=2)),
        (False, (None, None), Outcome.LOST, Counts(received=2, lost=2)),
        (True, (1, None, 2), Outcome.LOST, Counts(received=3, returned=2, lost=1)),
        (False, (1, 2), Outcome.LOST, Counts(received=2, lost=2)),
    ],
)
def test_an_unwritten_event_is_lost_unless_its_broker_redelivers_it(
    redelivers: bool, tokens: tuple[object, ...], outcome: Outcome, counts: Counts
) -> None:
    """A mixed batch is decided per event: a token says that the broker has the event still."""
    accounts = Accounts(redelivers=redelivers)
    accounts.record(_batch(*tokens), None, outcome)
    assert accounts.counts == counts


@pytest.mark.parametrize("outcome", [Outcome.SPOOLED, Outcome.LOST])
def test_of_a_split_batch_the_written_parts_are_counted_as_such(outcome: Outcome) -> None:
    """And the other part by the outcome of the rest."""
    accounts = Accounts(redelivers=False)
    batch = _batch(None, None, None, None)
    batch.halves = batch.split()
    batch.halves[0].written = Written(messages=0, duplicates=0)
    accounts.record(batch, Counts(received=4, filtered=4), outcome)
    lost = 2 if outcome is Outcome.LOST else 0
    assert accounts.counts == Counts(received=2 + lost, filtered=2, lost=lost)


@pytest.mark.parametrize(("redelivers", "tokens", "all_redelivered"), [
    (True, (1, 2), True), (True, (1, None), False), (False, (1, 2), False),
])  # fmt: skip
def test_a_batch_is_redelivered_only_as_a_whole(
    redelivers: bool, tokens: tuple[object, ...], all_redelivered: bool
) -> None:
    """Both the source and each event of the batch must say so."""
    assert Accounts(redelivers=redelivers).are_redelivered(_batch(*tokens).events) is all_redelivered
