"""What each of several processes runs: which sources share their events out, and under which names."""

from __future__ import annotations

import socket
from pathlib import Path

from bridge.config import Config, SourceConfig


def share(config: Config, number: int) -> Config:
    """Return what process `number` runs: all of `config` in the first (0), in every other what shares its events.

    A name that a broker knows a process by gets its number, the same one at every start: what a
    process had received and not settled when it died is delivered to its successor.
    """
    spool = config.spool
    if spool is not None:
        # Together they keep to the bound.
        directory = spool.directory if number == 0 else str(Path(spool.directory) / f"process-{number}")
        spool = spool.model_copy(update={"directory": directory, "max_size": spool.max_size // config.processes})
        config = config.model_copy(update={"spool": spool})
    if number == 0:
        return config
    sources = {name: _numbered(source, number) for name, source in config.sources.items() if alone(source) is None}
    routes = [route for route in config.routes if route.source in sources]
    return config.model_copy(update={"sources": sources, "routes": routes})


def alone(source: SourceConfig) -> str | None:
    """Return why `source` can run in one process only, or None where its broker gives each event to one of several."""
    if source.type == "redis-pubsub":
        return "every subscriber of a channel gets every event"
    if source.type == "mqtt" and source.version != "5":
        return "MQTT 3.1.1 has no shared subscriptions"
    if source.type == "mqtt" and not (source.topics and all(topic.startswith("$share/") for topic in source.topics)):
        return "only topics of a shared subscription are shared, as in topics: [$share/bridge/plants/#]"
    if source.type == "amqp" and source.declare and source.declare.arguments.get("x-queue-type") == "stream":
        return "every consumer of a stream gets every event"
    return None


def client_id(first: str, number: int) -> str:
    """Return what an MQTT broker knows process `number` by, which is not the `first`; nobody would choose it by chance."""
    return f"{first}-worker-{number}"


def _numbered(source: SourceConfig, number: int) -> SourceConfig:
    if source.type == "redis-stream":
        return source.model_copy(update={"consumer": f"{source.consumer or socket.gethostname()}-{number}"})
    if source.type == "mqtt" and source.client_id is not None:
        return source.model_copy(update={"client_id": client_id(source.client_id, number)})
    return source
