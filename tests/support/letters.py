"""A bridge's configuration, its dead letters, and retries of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge import config
from bridge.config import Config
from bridge.dead_letters.letters import Letter
from bridge.dead_letters.retry import Retried, Retrier
from bridge.dead_letters.store import LetterStore
from bridge.model.batch import Batch
from bridge.model.event import Event
from bridge.routing import router
from bridge.routing.compiler import check_routes, compile_routes
from bridge.routing.redaction import Redaction
from bridge.sink import RedisSink
from tests.support.brokers import Redis

ORDERS: dict[str, Any] = {"type": "amqp", "url": "amqp://localhost/", "queue": "q"}


class Desk:
    """The configuration of a bridge in Redis; `broken` routes of yesterday have made the letters that today's retry."""

    def __init__(self, server: Redis, path: Path) -> None:
        self.server = server
        self.path = path
        self.config: Config
        self.store: LetterStore

    def connect(self) -> None:
        """Write a first file, and make the reader of the letters."""
        self.write_config([{"from": "orders", "actor": "record", "args": ["$payload.id"]}])
        self.store = LetterStore(self.config.dramatiq)

    def write_config(self, routes: list[dict[str, Any]], **sections: Any) -> Config:
        """Write the file, and load it."""
        content = {"dramatiq": {"url": self.server.url}, "sources": {"orders": ORDERS}, "routes": routes} | sections
        self.path.write_text(yaml.safe_dump(content))
        self.config = config.load(self.path, environ={}, check=check_routes)
        return self.config

    async def receive(self, *events: Event) -> list[Letter]:
        """Route events and write them, as the bridge does; return all letters."""
        tables = compile_routes(self.config)[0]
        sink = RedisSink(self.config.dramatiq, self.config.dead_letters, Redaction.of(self.config))
        for start in range(0, len(events), 100):
            made = Batch(list(events[start : start + 100]))
            source = made.events[0].source
            router.make(self.config.sources[source], tables[source]).route(made)
            await sink.write(made)
        await sink.close()
        return [letter async for letter in self.store.every()]

    async def retry(self, letter: Letter, route: str | None = None, *, as_is: bool = False) -> Retried:
        """Retry a letter by the configuration as it is now."""
        return await Retrier(self.config, self.store).retry(letter, route, as_is=as_is)

    async def retry_as_clerk(self, letter: Letter) -> Retried:
        """Retry a letter over a connection of its own, as the user of the file."""
        store = LetterStore(self.config.dramatiq)
        try:
            return await Retrier(self.config, store).retry(letter)
        finally:
            await store.close()

    async def letters(self) -> list[Letter]:
        """Return all letters, the oldest first."""
        return [letter async for letter in self.store.every()]

    def books(self) -> dict[str, int]:
        """Return the letters and bytes of the books, and the sum of their blocks."""
        with self.server.client() as client:
            found: Any = client.hgetall("dramatiq-bridge:dead-letters:books")
            length: Any = client.xlen("dramatiq-bridge:dead-letters")
        blocks = [tuple(map(int, value.split()[1:])) for name, value in found.items() if name.isdigit()]
        total = tuple(map(sum, zip(*blocks, strict=True))) or (0, 0)
        assert total == (int(found.get(b"count", 0)), int(found.get(b"bytes", 0)))
        return {"count": total[0], "bytes": total[1], "length": length, "blocks": len(blocks)}


def order(body: bytes, headers: Mapping[str, object] | None = None, topic: str = "order.new", **meta: object) -> Event:
    """Make an event of the source `orders`, as AMQP brings it."""
    known = {"message_id": None, "correlation_id": None, "reply_to": None, "content_type": None, "timestamp": None}
    raw = (headers or {}, {**known, "expires_in": None, "exchange": "", "redelivered": False, **meta})
    return Event("orders", topic, body, 1_764_223_200_123, raw=raw, size=len(body) + 20)


@pytest.fixture
async def desk(redis_server: Redis, tmp_path: Path) -> AsyncIterator[Desk]:
    """Return a desk with the shared Redis; the reader of the letters is closed at the end."""
    made = Desk(redis_server, tmp_path / "bridge.yaml")
    async with AsyncExitStack() as ends:
        made.connect()
        ends.push_async_callback(made.store.close)
        yield made
