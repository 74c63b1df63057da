"""Batches to write, configurations and sinks to write them with, and what is in Redis then."""

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
from bridge.config import Dramatiq
from bridge.errors import SinkUnavailable
from bridge.model.batch import Batch, BatchSequence, DeadLetter
from bridge.model.event import Event, Gate
from bridge.model.message import Message, MessageIds, Template
from bridge.routing import router
from bridge.routing.compiler import check_routes, compile_routes
from bridge.routing.router import Counts, Router
from bridge.sink import RedisSink
from tests.support.brokers import Redis
from tests.support.processes import queue_messages

DEAD: Final = "dramatiq-bridge:dead-letters"


SEEN: Final = Gate("seen", "s:", lifetime_ms=60_000)


@dataclass
class Entry:
    """One event of a batch, and what it comes to."""

    event: Event
    messages: list[Message] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)


def batch_of(entries: Iterable[Entry], writer: BatchSequence | None = None, number: int | None = None) -> Batch:
    """Make a batch of what its events come to."""
    entries = list(entries)
    made = Batch([entry.event for entry in entries], writer or BatchSequence(), number=number)
    for owner, entry in enumerate(entries):
        made.add(owner, entry.messages)
        made.dead_letters += [(owner, letter) for letter in entry.dead_letters]
    return made


def copied(made: Batch, writer: BatchSequence, number: int | None = None) -> Batch:
    """Make the same batch again, as one that was not written yet."""
    return Batch(made.events, writer, made.queues, made.dead_letters, number)


def routed(router: Router, events: list[Event]) -> tuple[list[Entry], Counts]:
    """Route events; return what each one comes to, and the counts."""
    made = Batch(events)
    counts = router.route(made)
    entries = [Entry(one) for one in events]
    for queue, column in made.queues.items():
        for owner, message_ in zip(column.event_indexes, column.messages, strict=True):
            entries[owner].messages.append(Message(queue, *message_))
    for owner, letter in made.dead_letters:
        entries[owner].dead_letters.append(letter)
    return entries, counts


class Sinks:
    """Makes sinks when called, and closes them all in the end."""

    def __init__(self) -> None:
        self._made: list[RedisSink] = []

    def __call__(self, server: Redis, *, cap: int = 1000, **settings: Any) -> RedisSink:
        """Return a sink for `server`; `settings` are those of `dramatiq:`."""
        dramatiq = Dramatiq.model_validate({"url": server.url, "timeout": "5s", **settings})
        self._made.append(RedisSink(dramatiq, dead_letter_cap=cap))
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


def event(gate: Gate | None = None, body: bytes = b"{}", **more: Any) -> Event:
    """Make an event."""
    return Event("plant", "a/b", body, 1234, gate=gate, **more)


def batch(*numbers: int, queue: str = "default", gates: bool = False) -> Batch:
    """Make a batch of one message per number."""
    return batch_of(
        Entry(event(SEEN if gates else None, deduplication_key=str(n).encode()), [message(n, queue)]) for n in numbers
    )


def numbers(client: redis.Redis, queue: str = "default", namespace: str = "dramatiq") -> list[int]:
    """Return the arguments of the messages in a queue, in order; list and hash must agree."""
    return [found["args"][0] for found in queue_messages(client, queue, namespace)]


def answer(value: object) -> Any:
    """Return what a synchronous client says."""
    return value


async def unavailable(writing: Awaitable[object]) -> str:
    """Return the cause of SinkUnavailable, which must be raised."""
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
    """Bring events with these bodies through the router and the sink."""
    routing = router.make(loaded.sources["s"], compile_routes(loaded)[0]["s"])
    made = Batch([Event("s", "c", body, 1, raw=({"h": "v"}, {})) for body in bodies])
    routing.route(made)
    sink = RedisSink(loaded.dramatiq, dead_letter_cap=100)
    await sink.write(made)
    await sink.close()


def dead_letters(client: redis.Redis) -> list[dict[bytes, bytes]]:
    """Return the fields of every dead letter."""
    entries: Any = client.xrange("dramatiq-bridge:dead-letters")
    return [fields for _, fields in entries]
