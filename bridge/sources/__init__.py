"""The sources: a file or a folder per protocol, one line each in the registry.

A protocol's library is loaded when a source needs it: a bridge that reads Redis alone starts a tenth faster, and takes
5 MiB less, than with aio-pika and paho-mqtt (observed).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bridge.config import Config, Dramatiq
from bridge.model.findings import Findings
from bridge.redis_io.client import same_server
from bridge.sources.contract import Session, SinkWatch, Source
from bridge.sources.redis_pubsub import RedisPubsubSource
from bridge.sources.redis_stream.source import RedisStreamSource
from bridge.sources.sharding import why_not_shareable
from bridge.topics.mqtt import needed_filters

__all__ = ["Session", "Source", "look", "make", "orphaned_sessions", "subscriptions"]


@dataclass(slots=True, frozen=True)
class SourceContext:
    """The parts that a source is made of.

    `settings` is its model (`bridge.config.sources`). `topics` are those of its routes, None for a route that takes every
    event. `sink` tells whether its events can be written now; None where nobody watches that.
    """

    name: str
    settings: Any
    topics: Sequence[str | None]
    dramatiq: Dramatiq
    sink: SinkWatch | None = None


def _amqp(context: SourceContext) -> Source:
    from bridge.sources.amqp.source import AmqpSource  # noqa: PLC0415 - see above

    return AmqpSource(context.name, context.settings, context.dramatiq, context.sink)


async def _look_at_amqp(context: SourceContext, found: Findings) -> None:
    from bridge.sources.amqp.preflight import look_at_queue  # noqa: PLC0415 - see above

    await look_at_queue(context.name, context.settings, found)


def _mqtt(context: SourceContext) -> Source:
    from bridge.sources.mqtt.source import MqttSource  # noqa: PLC0415 - see above

    return MqttSource(context.name, context.settings, _mqtt_filters(context), context.dramatiq)


async def _look_at_mqtt(context: SourceContext, found: Findings) -> None:
    from bridge.sources.mqtt.preflight import look_at_broker  # noqa: PLC0415 - see above

    await look_at_broker(context.settings, _mqtt_filters(context), found)


async def _mqtt_orphans(context: SourceContext, first: int) -> Mapping[str, Source]:
    from bridge.sources.mqtt.orphans import orphaned_settings  # noqa: PLC0415 - see above
    from bridge.sources.mqtt.source import MqttSource  # noqa: PLC0415 - see above

    name, filters, dramatiq = context.name, _mqtt_filters(context), context.dramatiq
    return {
        f"{name} ({orphan.client_id})": MqttSource(name, orphan, filters, dramatiq, orphaned=True)
        for orphan in await orphaned_settings(name, context.settings, dramatiq, first)
    }


def _mqtt_filters(context: SourceContext) -> list[str]:
    return needed_filters(context.settings.topics, context.topics)


def _pubsub(context: SourceContext) -> Source:
    return RedisPubsubSource(context.name, context.settings)


def _stream(context: SourceContext) -> Source:
    return RedisStreamSource(context.name, context.settings, context.dramatiq, in_sink=_in_sink(context))


def _in_sink(context: SourceContext) -> bool:
    return same_server(context.settings.url, context.dramatiq.url)


async def _look_at_pubsub(context: SourceContext, found: Findings) -> None:
    from bridge.sources.redis_pubsub_look import look_at_pubsub  # noqa: PLC0415 - only `check --connect` needs it

    await look_at_pubsub(context.settings, found)


async def _look_at_stream(context: SourceContext, found: Findings) -> None:
    from bridge.sources.redis_stream.look import look_at_streams  # noqa: PLC0415 - see above

    await look_at_streams(context.settings, context.dramatiq, found, in_sink=_in_sink(context))


@dataclass(slots=True, frozen=True)
class _Protocol:
    """A line of the registry.

    `orphans` finds the sessions that the broker keeps for processes from a number on; None where it keeps none.
    `subscriptions` returns what a source asks its broker for because of its routes; None where only its settings matter.
    `look` looks at the broker before the start, consumes nothing and changes nothing there; None where it shows nothing.
    """

    make: Callable[[SourceContext], Source]
    orphans: Callable[[SourceContext, int], Awaitable[Mapping[str, Source]]] | None
    subscriptions: Callable[[SourceContext], Sequence[str]] | None
    look: Callable[[SourceContext, Findings], Awaitable[None]] | None


_REGISTRY: Final[dict[str, _Protocol]] = {
    "amqp": _Protocol(_amqp, orphans=None, subscriptions=None, look=_look_at_amqp),
    "mqtt": _Protocol(_mqtt, orphans=_mqtt_orphans, subscriptions=_mqtt_filters, look=_look_at_mqtt),
    "redis-pubsub": _Protocol(_pubsub, orphans=None, subscriptions=None, look=_look_at_pubsub),
    "redis-stream": _Protocol(_stream, orphans=None, subscriptions=None, look=_look_at_stream),
}


def make(name: str, config: Config, sink: SinkWatch | None = None) -> Source:
    """Return the source that `sources.<name>` configures; without `sink`, its events can always be written."""
    context = _context(name, config, sink)
    return _REGISTRY[context.settings.type].make(context)


async def orphaned_sessions(name: str, config: Config) -> Mapping[str, Source]:
    """Return a source, by a name of its own, for each session that an earlier start with more processes has left.

    The broker goes on giving events to such a session. Its source brings them, and gives up its subscriptions.
    """
    context = _context(name, config)
    orphans = _REGISTRY[context.settings.type].orphans
    if orphans is None:
        return {}
    first = config.processes if why_not_shareable(context.settings) is None else 1
    return await orphans(context, first)


def subscriptions(name: str, config: Config) -> frozenset[str]:
    """Return what `sources.<name>` asks its broker for because of its routes: if that changes, it has to connect anew."""
    context = _context(name, config)
    needed = _REGISTRY[context.settings.type].subscriptions
    return frozenset() if needed is None else frozenset(needed(context))


async def look(name: str, config: Config, found: Findings) -> None:
    """Look at the broker of `sources.<name>` before the start; it consumes nothing, and changes nothing.

    Raises:
        Disconnected: the broker can't be reached, or the connection has ended.
    """
    context = _context(name, config)
    look_at = _REGISTRY[context.settings.type].look
    if look_at is None:
        found.unseen(f"a source of type {context.settings.type} shows nothing before the start")
    else:
        await look_at(context, found)


def _context(name: str, config: Config, sink: SinkWatch | None = None) -> SourceContext:
    topics = [route.topic for route in config.routes if route.source == name]
    return SourceContext(name, config.sources[name], topics, config.dramatiq, sink)
