"""Batches to write, configurations and sinks to write them with, and what is in Redis then."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest
import redis
import yaml

from bridge import config, router
from bridge.batch import Batch, Entry
from bridge.config import Dramatiq
from bridge.errors import SinkUnavailable
from bridge.event import Event, Gate
from bridge.message import Message, Template, unique_ids
from bridge.route_compiler import check_routes, compile_routes
from bridge.sink import RedisSink
from tests.brokers import Redis
from tests.processes import queue_messages

DEAD: Final = "dramatiq-bridge:dead-letters"


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
    first, second = unique_ids(2)
    return Template("record", queue).fill([number], {}, now_ms=1, ids=(first, second))


def event(gate: Gate | None = None, body: bytes = b"{}", **more: Any) -> Event:
    """Make an event."""
    return Event("plant", "a/b", body, 1234, gate=gate, **more)


def batch(*numbers: int, queue: str = "default", gates: bool = False) -> Batch:
    """Make a batch of one message per number."""
    return Batch([Entry(event(("seen", str(n), "60000") if gates else None), [message(n, queue)]) for n in numbers])


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
    routed = router.make(loaded.sources["s"], compile_routes(loaded)[0]["s"])
    entries, _ = routed.route([Event("s", "c", body, 1, {"h": "v"}) for body in bodies])
    sink = RedisSink(loaded.dramatiq, dead_letter_cap=100)
    await sink.write(Batch(entries))
    await sink.close()


def dead_letters(client: redis.Redis) -> list[dict[bytes, bytes]]:
    """Return the fields of every dead letter."""
    entries: Any = client.xrange("dramatiq-bridge:dead-letters")
    return [fields for _, fields in entries]
