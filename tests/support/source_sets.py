"""Several feeds of one bridge: each is a source with a route of its own, and each event is a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import Feed
from tests.support.processes import queue_messages


class SourceSet:
    """Feeds by the names of their sources, with the settings that each has beside its own."""

    def __init__(self, sink: Redis, feeds: Mapping[str, tuple[Feed, Mapping[str, Any]]]) -> None:
        self._sink = sink
        self._feeds = feeds
        self._published = 0

    @property
    def config(self) -> dict[str, Any]:
        """A whole configuration."""
        routes = [{"from": name, "actor": "record", "args": [name, "$payload.n"]} for name in self._feeds]
        sources = {name: {**feed.source, **settings} for name, (feed, settings) in self._feeds.items()}
        return {"dramatiq": {"url": self._sink.url_of(0)}, "sources": sources, "routes": routes}

    def publish(self, count: int) -> None:
        """Publish the next `count` numbers to each feed."""
        numbers = range(self._published, self._published + count)
        for feed, _ in self._feeds.values():
            feed.publish([{"n": n} for n in numbers])
        self._published += count

    def wait(self) -> dict[str, list[int]]:
        """Wait until all that was published is in Redis, and return the numbers of each feed in their order there."""
        wait_until(lambda: all(len(set(found)) == self._published for found in self.found().values()), 30, "all events")
        return self.found()

    def found(self) -> dict[str, list[int]]:
        """Return the numbers of each feed that are in Redis, in their order there."""
        numbers: dict[str, list[int]] = {name: [] for name in self._feeds}
        with self._sink.client() as client:
            for message in queue_messages(client, "default"):
                name, n = message["args"]
                numbers[name].append(n)
        return numbers
