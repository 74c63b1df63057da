"""The sources: one file per protocol, one line each in the registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bridge import redis_client
from bridge.config import Config, SourceConfig
from bridge.routes import RouteTable
from bridge.sources.amqp import AmqpSource
from bridge.sources.mqtt import MqttSource
from bridge.sources.redis_pubsub import RedisPubsubSource
from bridge.sources.redis_stream import RedisStreamSource
from bridge.sources.session import Session, Source
from bridge.topics import subscription, without_covered

__all__ = ["Session", "Source", "make"]


def _mqtt(name: str, source: Any, config: Config, table: RouteTable) -> Source:
    needed = [subscription(route.pattern.text) if route.pattern else "#" for route in table.routes]
    return MqttSource(name, source, without_covered(source.topics or needed), config.dramatiq)


def _stream(name: str, source: Any, config: Config, _table: RouteTable) -> Source:
    return RedisStreamSource(name, source, in_sink=redis_client.same_server(source.url, config.dramatiq.url))


_REGISTRY: Final[dict[str, Callable[[str, Any, Config, RouteTable], Source]]] = {
    "amqp": lambda name, source, _config, _table: AmqpSource(name, source),
    "mqtt": _mqtt,
    "redis-pubsub": lambda name, source, _config, _table: RedisPubsubSource(name, source),
    "redis-stream": _stream,
}


def make(name: str, source: SourceConfig, config: Config, table: RouteTable) -> Source:
    """Return the source that `sources.<name>` configures."""
    return _REGISTRY[source.type](name, source, config, table)
