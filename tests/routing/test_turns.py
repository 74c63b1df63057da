"""No batch holds the event loop for long: routing ends a batch after some time, or lets others run."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import pytest

from bridge.model.batch import Batch, BatchSequence
from bridge.routing.router import Router
from tests.support.routing import event, router

#: A batch may take 50 ms; the tests run on any machine, so they allow twentyfold.
_LONGEST_S: Final = 1.0


@pytest.fixture(autouse=True)
def _with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.routing.router._MAX_ROUTING_S", 0.025)


def _many(**more: Any) -> Router:
    return router([{"actor": "log", "name": f"r{number}", "topic": "+/#", **more} for number in range(300)])


@pytest.mark.parametrize(
    ("more", "same_topic"),
    [
        ({"args": ["$payload.n"]}, True),
        ({"args": ["$payload.n"]}, False),
        ({"when": "payload.n < 0"}, True),
        ({"when": "payload.missing < 0"}, True),
        ({"args": ["$payload.missing"]}, True),
    ],
    ids=["messages", "new-topics", "filtered", "without-field", "dead-letters"],
)
def test_a_batch_of_small_events_ends_after_its_time(more: dict[str, Any], same_topic: bool) -> None:
    """1,000 events that 300 routes fit would take seconds; the batch ends before, and its rest is the next one."""
    routes = _many(**more)
    batch = Batch([event(f"a/{0 if same_topic else number}", b'{"n": 1}') for number in range(1000)])
    began = time.thread_time()
    counts = routes.route(batch)
    assert time.thread_time() - began < _LONGEST_S
    assert 0 < counts.received < 1000
    assert routes.route(batch.cut(counts.received)).received > 0


def _pubsub(patterns: list[str], **more: Any) -> Router:
    routes = [{"actor": "log", "name": f"r{number}", "topic": pattern} for number, pattern in enumerate(patterns)]
    return router(routes, type="redis-pubsub", url="redis://localhost", patterns=["*"], **more)


def test_a_batch_of_long_channels_ends_after_its_time() -> None:
    """They are too long to be remembered: each is looked up again."""
    routes = _pubsub(["*" + "".join(f"d{number}*" for number in range(many)) for many in range(1, 40)])
    batch = Batch([event(f"{number}{'d0d1d2' * 160}") for number in range(1000)])
    began = time.thread_time()
    counts = routes.route(batch)
    assert time.thread_time() - began < _LONGEST_S
    assert 0 < counts.received < 1000


@pytest.mark.parametrize("pattern", ["*:dev{}:{{x}}", "plant:{{site}}:dev{}:temp"])
@pytest.mark.parametrize("length", [1024, 1 << 20])
def test_one_long_channel_takes_no_longer_than_a_batch(pattern: str, length: int) -> None:
    """By 10,000 routes, all of which may fit it: thousands of patterns would walk through all of a longer one."""
    routes = _pubsub([pattern.format(number) for number in range(10_000)])
    batch = Batch([event(f"plant:{'a:' * length}"[:length])])
    began = time.thread_time()
    assert routes.route(batch).received == 1
    assert time.thread_time() - began < _LONGEST_S


@pytest.mark.parametrize("unmatched", ["drop", "dead-letter"])
def test_a_topic_that_is_too_long_to_match_is_a_dead_letter(unmatched: str) -> None:
    """Also of a source that drops those that fit no route: nobody knows whether it fits."""
    batch = Batch([event("a" * 1024), event("a" * 1025)])
    counts = _pubsub(["a*"], unmatched=unmatched).route(batch)
    assert (counts.enqueued, counts.dead_lettered, counts.unmatched) == (1, 1, 0)
    ((_, letter),) = batch.dead_letters
    assert (letter.reason, letter.detail) == (
        "too-large", "the topic has 1025 characters, more than the 1024 that are matched"
    )  # fmt: skip


@pytest.mark.parametrize("number", [None, 7])
def test_a_batch_full_of_dead_letters_ends_whatever_was_filtered_before(number: int | None) -> None:
    """At the same event, however many routes of its events made no message."""
    filtered = [{"actor": "log", "name": f"f{n}", "topic": "#", "when": "payload.n < 0"} for n in range(300)]
    failing = [{"actor": "log", "name": f"m{n}", "topic": "#", "args": ["$payload.missing"]} for n in range(100)]
    routes = router([*filtered, *failing])
    batch = Batch([event("a", b'{"n": 1}') for _ in range(5)], number=number)
    counts = routes.route(batch)
    assert counts.received == 1
    assert len(batch.dead_letters) == 100


async def test_a_batch_with_a_number_lets_others_run_and_is_cut_where_it_always_was() -> None:
    """Its parts are known by their places after a crash: time does not change them, so routing it takes turns."""
    routes = _many(args=["$payload.n"])
    events = [event(f"a/{number}", b'{"n": 1}') for number in range(200)]
    plain, taken = Batch(events, number=7), Batch(events, number=7)
    plain_counts = routes.route(plain)
    longest, last, done = 0.0, time.thread_time(), False

    async def watch() -> None:
        nonlocal longest, last
        while not done:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, last = max(longest, now - last), now

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    counts = await routes.route_in_turns(taken)
    done = True
    await watching
    assert counts == plain_counts
    assert [column.event_indexes for column in taken.queues.values()] == [
        column.event_indexes for column in plain.queues.values()
    ]
    assert longest < _LONGEST_S


async def test_routing_that_is_cut_short_leaves_nothing_in_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch with a number may go to the spool meanwhile, and is routed again later."""
    monkeypatch.setattr("bridge.routing.router._MAX_ROUTING_S", 0.0)
    batch = Batch([event("a/b", b'{"n": 1}') for _ in range(100)], BatchSequence(), number=7)
    routing = asyncio.create_task(_many(args=["$payload.n"]).route_in_turns(batch))
    await asyncio.sleep(0)
    assert batch.queues
    routing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await routing
    assert not batch.queues
    assert not batch.dead_letters
