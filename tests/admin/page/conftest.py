"""One browser and one bridge for each file of tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import need
from tests.support.brokers import Redis
from tests.support.children import free_port
from tests.support.chromium import launch, need_chromium
from tests.support.feeds import StreamFeed
from tests.support.processes import BridgeProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TOKEN = "the-token-of-these-tests"


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium."""
    need_chromium()
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - it needs a moment

    with sync_playwright() as playwright, launch(playwright) as browser:
        yield browser


@dataclass
class Stage:
    """A bridge with a stream, and a Redis of its own that it writes to."""

    sink: Redis
    feed: StreamFeed
    bridge: BridgeProcess
    port: int
    config: dict[str, Any]

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.port}/"


def config_of(sink: Redis, feed: StreamFeed, port: int, **more: Any) -> dict[str, Any]:
    """Return a configuration with two routes of the stream, one of them with a condition, and a source of pub/sub."""
    small = {"name": "small", "from": "feed", "actor": "record", "args": ["$payload.n"], "queue": "default"}
    large = {**small, "args": ["$payload.n"], "name": "large", "when": "payload.n > 1000", "queue": "bounded"}
    return {
        "dramatiq": {"url": sink.url_of(0), "max_queue_depth": {"bounded": 3}},
        "admin": {"listen": f"127.0.0.1:{port}", "token": TOKEN},
        "sources": {
            "feed": {**feed.source, "window": {"events": 50}},
            "news": {"type": "redis-pubsub", "url": feed.broker.url_of(0), "channels": ["news"]},
        },
        "routes": [small, large, {"from": "news", "name": "told", "actor": "record", "queue": "default"}],
        **more,
    }


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """The bridge of a file's tests, which is ready."""
    need(Redis)
    with Redis() as source, Redis(appendonly=True) as sink:
        feed = StreamFeed(source)
        feed.prepare()
        port = free_port()
        config = config_of(sink, feed, port)
        with BridgeProcess(config) as bridge:
            yield Stage(sink, feed, bridge.ready(), port, config)
