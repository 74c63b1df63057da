"""Batches, configurations and sinks for tests, and reading the messages that they have written to Redis."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest
import redis
import yaml

from bridge import config
from bridge.config import DeadLetters, Dramatiq
from bridge.errors import SinkUnavailable
from bridge.model.accounting import Counts
from bridge.model.batch import Batch, BatchSequence, DeadLetter
from bridge.model.event import Event, OnceByKey, WriteOnce
from bridge.model.message import Message, MessageIds, Template
from bridge.routing import router
from bridge.routing.compiler import check_routes, compile_routes
from bridge.routing.router import Router
from bridge.sink import RedisSink
from tests.support.brokers import Redis
from tests.support.odd_servers import OddServer
from tests.support.processes import queue_messages

DEAD: Final = "dramatiq-bridge:dead-letters"


@dataclass
class Entry:
    """One event of a batch, with its messages and dead letters."""

    event: Event
    messages: list[Message] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)


def batch_of(entries: Iterable[Entry], sequence: BatchSequence | None = None, number: int | None = None) -> Batch:
    """Make a batch of events with their messages and dead letters."""
    entries = list(entries)
    made = Batch([entry.event for entry in entries], sequence or BatchSequence(), number=number)
    for event_index, entry in enumerate(entries):
        made.add(event_index, entry.messages)
        made.dead_letters += [(event_index, letter) for letter in entry.dead_letters]
    return made


def copied(made: Batch, sequence: BatchSequence, number: int | None = None) -> Batch:
    """Make the same batch again, not written yet."""
    return Batch(made.events, sequence, made.queues, made.dead_letters, number)


def routed(router: Router, events: list[Event]) -> tuple[list[Entry], Counts]:
    """Route events; return each one with its messages and dead letters, and the counts."""
    made = Batch(events)
    counts = router.route(made)
    entries = [Entry(event_) for event_ in events]
    for queue, column in made.queues.items():
        for event_index, message_ in zip(column.event_indexes, column.messages, strict=True):
            entries[event_index].messages.append(Message(queue, *message_))
    for event_index, letter in made.dead_letters:
        entries[event_index].dead_letters.append(letter)
    return entries, counts


class Sinks:
    """Makes a sink each time it is called; closes them all at the end."""

    def __init__(self) -> None:
        self._made: list[RedisSink] = []

    def __call__(
        self, server: Redis | OddServer, *, cap: int = 1000, dead_letters: dict[str, Any] | None = None, **settings: Any
    ) -> RedisSink:
        """Return a sink for `server`; `settings` are those of `dramatiq:`, `dead_letters` of that section."""
        dramatiq = Dramatiq.model_validate({"url": server.url, "timeout": "5s", **settings})
        self._made.append(RedisSink(dramatiq, DeadLetters.model_validate({"max_length": cap, **(dead_letters or {})})))
        return self._made[-1]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sink in self._made:
            await sink.close()


def message(number: int = 0, queue: str = "default") -> Message:
    """Make a message whose only argument is `number`."""
    return Message(queue, *Template("record", queue).fill([number], {}, MessageIds(1)))


def event(write_once: WriteOnce | None = None, body: bytes = b"{}", **fields: Any) -> Event:
    """Make an event."""
    return Event("plant", "a/b", body, 1234, write_once=write_once, **fields)


def batch(*numbers: int, queue: str = "default", once: bool = False) -> Batch:
    """Make a batch of one event and one message per number; `once` gives each event a deduplication key that Redis remembers."""
    seen = OnceByKey("s:", lifetime_ms=60_000, log="s") if once else None
    return batch_of(Entry(event(seen, deduplication_key=str(n).encode()), [message(n, queue)]) for n in numbers)


def large_batch(
    events: int = 64, message_bytes: int = 65_536, sequence: BatchSequence | None = None, first: int = 0
) -> Batch:
    """Make a batch whose messages, numbered from `first` on, have so many bytes each; by default 4 MiB in all."""
    text = "x" * message_bytes
    return batch_of(
        (
            Entry(
                event(), [Message("default", *Template("record", "default").fill([n], {"text": text}, MessageIds(1)))]
            )
            for n in range(first, first + events)
        ),
        sequence,
    )


def numbers(client: redis.Redis, queue: str = "default", namespace: str = "dramatiq") -> list[int]:
    """Return the arguments of the messages in a queue, in order; list and hash must agree."""
    return [body["args"][0] for body in queue_messages(client, queue, namespace)]


def answer(value: object) -> Any:
    """Return a synchronous client's reply without its type, which allows an awaitable too."""
    return value


async def unavailable(writing: Awaitable[object]) -> str:
    """Check that `writing` raises SinkUnavailable, and return its cause."""
    with pytest.raises(SinkUnavailable) as caught:
        await writing
    return caught.value.cause


def load(tmp_path: Path, url: str, route: dict[str, Any], **source: Any) -> config.Config:
    """Load a whole configuration with one route, as `run` does."""
    path = tmp_path / "bridge.yaml"
    content = {
        "dramatiq": {"url": url},
        "sources": {"s": {"type": "redis-pubsub", "url": url, "channels": ["c"], **source}},
        "routes": [{"from": "s", "actor": "record", **route}],
    }
    path.write_text(yaml.safe_dump(content))
    return config.load(path, environ={}, check=check_routes)


async def write(loaded: config.Config, *bodies: bytes) -> None:
    """Route events with these bodies, and write them."""
    routing = router.make(loaded.sources["s"], compile_routes(loaded)[0]["s"])
    made = Batch([Event("s", "c", body, 1, raw=({"h": "v"}, {})) for body in bodies])
    routing.route(made)
    sink = RedisSink(loaded.dramatiq, loaded.dead_letters)
    await sink.write(made)
    await sink.close()


def dead_letters(client: redis.Redis) -> list[dict[bytes, bytes]]:
    """Return the fields of every dead letter."""
    entries: Any = client.xrange("dramatiq-bridge:dead-letters")
    return [fields for _, fields in entries]
