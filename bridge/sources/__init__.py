"""The sources: one file per protocol, one line each in the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from bridge.config import Config, Mqtt, SourceConfig
from bridge.redis_io import client as redis_client
from bridge.routing.routes import RouteTable
from bridge.sources.amqp.source import AmqpSource
from bridge.sources.contract import Session, SinkWatch, Source
from bridge.sources.mqtt.orphans import orphaned_sessions
from bridge.sources.mqtt.source import MqttSource
from bridge.sources.redis_pubsub import RedisPubsubSource
from bridge.sources.redis_stream.source import RedisStreamSource
from bridge.sources.sharding import alone
from bridge.topics.pattern import subscription, without_covered

__all__ = ["Session", "Source", "left_behind", "make"]


@dataclass(slots=True, frozen=True)
class SourceContext:
    """What sources are made of; `sink` tells whether the source's events can be written now, if anybody does."""

    name: str
    source: Any
    config: Config
    table: RouteTable
    sink: SinkWatch | None


def _amqp(given: SourceContext) -> Source:
    return AmqpSource(given.name, given.source, given.sink)


def _mqtt(given: SourceContext) -> Source:
    return MqttSource(given.name, given.source, _topics(given.source, given.table), given.config.dramatiq)


def _topics(source: Mqtt, table: RouteTable) -> list[str]:
    needed = [subscription(route.pattern.text) if route.pattern else "#" for route in table.routes]
    return without_covered(source.topics or needed)


def _pubsub(given: SourceContext) -> Source:
    return RedisPubsubSource(given.name, given.source)


def _stream(given: SourceContext) -> Source:
    in_sink = redis_client.same_server(given.source.url, given.config.dramatiq.url)
    return RedisStreamSource(given.name, given.source, in_sink=in_sink)


async def left_behind(name: str, config: Config, table: RouteTable) -> dict[str, Source]:
    """Return what an earlier start, with more processes, has left of a source at its broker, each by a name of its own.

    It waits for Redis, which remembers them.
    """
    source = config.sources[name]
    if source.type != "mqtt":
        return {}
    first = config.processes if alone(source) is None else 1
    return {
        f"{name} ({orphan.client_id})": MqttSource(name, orphan, _topics(source, table), config.dramatiq, orphaned=True)
        for orphan in await orphaned_sessions(name, source, config.dramatiq, first)
    }


_REGISTRY: Final[dict[str, Callable[[SourceContext], Source]]] = {
    "amqp": _amqp,
    "mqtt": _mqtt,
    "redis-pubsub": _pubsub,
    "redis-stream": _stream,
}


def make(name: str, source: SourceConfig, config: Config, table: RouteTable, sink: SinkWatch | None = None) -> Source:
    """Return the source that `sources.<name>` configures; without `sink`, it takes its events to be always welcome."""
    return _REGISTRY[source.type](SourceContext(name, source, config, table, sink))
