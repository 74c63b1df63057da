"""Events, and a router to route them with."""

from __future__ import annotations

from typing import Any, Final

from bridge.config import Config
from bridge.model.event import Event
from bridge.routing.compiler import compile_routes
from bridge.routing.router import Router, make

MQTT: Final = {"type": "mqtt", "url": "mqtt://localhost"}
#: Routes of which an event may fit none, one or both.
ROUTES: Final[list[dict[str, Any]]] = [
    {"actor": "hot", "topic": "a/+", "when": "payload.c > 250", "args": ["$payload.c"]},
    {"actor": "log", "topic": "a/log", "args": ["$payload"]},
]


def router(routes: list[dict[str, Any]] = ROUTES, **source: Any) -> Router:
    """Return the router of a source with these settings, MQTT unless they name another type."""
    config = Config.model_validate({
        "sources": {"s": {**MQTT, **source}}, "routes": [{"from": "s", **route} for route in routes],
    })  # fmt: skip
    return make(config.sources["s"], compile_routes(config)[0]["s"])


def event(topic: str, body: bytes = b"{}", **more: Any) -> Event:
    """Return an event of the router's source."""
    return Event("s", topic, body, 0, **{"size": len(topic) + len(body), **more})
