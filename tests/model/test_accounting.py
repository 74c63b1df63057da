"""The accounts: every event is counted once, by its outcome."""

from __future__ import annotations

import pytest

from bridge.model.accounting import Accounts, Counts, Outcome
from bridge.model.batch import Batch, DeadLetter, Written
from bridge.model.event import Event


def _event(token: object = None) -> Event:
    return Event("s", "t", b"{}", 0, token)


def _batch(*tokens: object) -> Batch:
    return Batch([_event(token) for token in tokens])


def test_a_written_batch_is_counted_as_routing_and_redis_said() -> None:
    """Redis refused one event that was routed: it is a dead letter then."""
    accounts = Accounts(redelivers=True)
    batch = _batch(1, 2, 3)
    batch.refused = [1]
    batch.written = Written(messages=2, refused=1)
    accounts.receive(3)
    accounts.record(batch, Counts(received=3, enqueued=2, filtered=1), Outcome.WRITTEN)
    assert accounts.counts == Counts(received=3, enqueued=1, filtered=1, dead_lettered=1, messages=2)
    assert accounts.counts.reasons == {"refused-by-redis": 1}


def test_an_event_that_was_written_before_is_deduplicated_alone() -> None:
    """Each of the four has one class: one was written now, two had been written before, and a filtered one stays filtered."""
    accounts = Accounts(redelivers=True)
    batch = _batch(1, 2, 3, 4)
    batch.column("default").event_indexes += [0, 1]
    batch.dead_letters.append((2, DeadLetter(batch.events[2], "decode", "not JSON")))
    batch.written = Written(messages=1, duplicates=3, duplicate_indexes=[1, 2, 3])
    accounts.receive(4)
    routed = Counts(received=4, enqueued=2, filtered=1, dead_lettered=1, reasons={"decode": 1})
    accounts.record(batch, routed, Outcome.WRITTEN)
    assert accounts.counts == Counts(received=4, enqueued=1, filtered=1, deduplicated=2, messages=1)
    assert accounts.counts.reasons == {"decode": 0}
    assert accounts.counts.came == accounts.counts.settled


def test_a_spooled_batch_is_not_counted_yet() -> None:
    """It is counted once it is replayed."""
    accounts = Accounts(redelivers=False)
    accounts.record(_batch(None, None), None, Outcome.SPOOLED)
    assert accounts.counts == Counts()


@pytest.mark.parametrize(
    ("redelivers", "tokens", "outcome", "counts"),
    [
        (True, (1, 2), Outcome.RETURNED, Counts(returned=2)),
        (False, (None, None), Outcome.LOST, Counts(lost=2)),
        (True, (1, None, 2), Outcome.LOST, Counts(returned=2, lost=1)),
        (False, (1, 2), Outcome.LOST, Counts(lost=2)),
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
    assert accounts.counts == Counts(filtered=2, lost=lost)


@pytest.mark.parametrize(("redelivers", "tokens", "all_redelivered"), [
    (True, (1, 2), True), (True, (1, None), False), (False, (1, 2), False),
])  # fmt: skip
def test_a_batch_is_redelivered_only_as_a_whole(
    redelivers: bool, tokens: tuple[object, ...], all_redelivered: bool
) -> None:
    """Both the source and each event of the batch must say so."""
    assert Accounts(redelivers=redelivers).are_redelivered(_batch(*tokens).events) is all_redelivered
