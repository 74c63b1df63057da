"""`check CONFIG`: every mistake in one go, or what the file says; connects to nothing."""

from __future__ import annotations

import argparse

from bridge import config
from bridge.config import Config, redacted_url
from bridge.routes import check_routes


def main(arguments: argparse.Namespace) -> int:
    """Print what is connected to what; a ConfigError holds every mistake."""
    loaded = config.load(arguments.config, check=check_routes)
    print(f"{arguments.config}: ok")
    print(f"  dramatiq  {redacted_url(loaded.dramatiq.url)}, namespace {loaded.dramatiq.namespace}")
    for name, source in loaded.sources.items():
        routes = [route for route in loaded.routes if route.source == name]
        print(f"  {name}  {source.type} {redacted_url(source.url)}")
        for route in routes:
            topic = f"{route.topic} " if route.topic else ""
            print(f"    {topic}-> {route.actor} (queue {route.queue})")
    for warning in warnings(loaded):
        print(f"  note: {warning}")
    return 0


def warnings(loaded: Config) -> list[str]:
    """Return what is allowed and yet seldom meant."""
    found = []
    for name, source in loaded.sources.items():
        if source.type == "mqtt" and source.qos > 0 and source.client_id is None:
            found.append(
                f"sources.{name} has no client_id, so its session ends with the connection:"
                " what is published while the bridge is away is lost"
            )
        if not any(route.source == name for route in loaded.routes):
            found.append(f"sources.{name} has no route")
    return found
