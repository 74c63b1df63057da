"""`route CONFIG --from S --topic T --payload BODY`: which routes fit, why the others don't, and their messages."""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

from bridge import config
from bridge.commands.send import parse_pairs
from bridge.config import Config
from bridge.errors import BadEvent, UsageError
from bridge.model.event import META_NAMES, Event
from bridge.model.message import MessageIds, check_growth
from bridge.routing import expressions, router
from bridge.routing.compiler import check_routes, compile_condition, compile_routes
from bridge.routing.expressions import EXPRESSION_ERRORS
from bridge.routing.routes import ROUTE_ERRORS, Route


def main(arguments: argparse.Namespace) -> int:
    """Print the result of every route of the source for this event; return 0 even if no route fits."""
    loaded = config.load(arguments.config, check=check_routes)
    source = loaded.sources.get(arguments.source)
    if source is None:
        raise UsageError(
            f"--from: no source {arguments.source!r} in {arguments.config}; it has {', '.join(loaded.sources)}"
        )
    event = _event(arguments)
    table = compile_routes(loaded)[0][arguments.source]
    try:
        # As in a running bridge, an event that fits no topic is not decoded.
        payload = router.make(source, table).payload(event) if table.matches(event.topic) else None
        results = [_explain(route, event, payload) for route in table.routes]
    except BadEvent as error:
        results = [{"route": None, "dead_letter": error.reason, "why": error.detail}]
    else:
        if not table.matches(event.topic):
            results.append(_unmatched(loaded, arguments.source))
    print(json.dumps(results, indent=2) if arguments.json else _text(results))
    return 0


def _event(arguments: argparse.Namespace) -> Event:
    meta = parse_pairs(arguments.meta, "--meta")
    for name in meta:
        if name not in META_NAMES:
            raise UsageError(f"--meta: no {name!r}; there are {', '.join(META_NAMES)}")
    headers = parse_pairs(arguments.header, "--header")
    now_ms = time.time_ns() // 1_000_000
    # Arguments are bytes; Python shows those that are not UTF-8 as lone surrogates.
    topic = os.fsencode(arguments.topic).decode("utf-8", "backslashreplace")
    body = os.fsencode(arguments.payload)
    size = len(topic) + len(body) + sum(len(f"{name}{value}") for name, value in headers.items())
    return Event(arguments.source, topic, body, now_ms, raw=(headers, meta), size=size)


def _explain(route: Route, event: Event, payload: object) -> dict[str, Any]:
    result: dict[str, Any] = {"route": route.name}
    captures = () if route.pattern is None else route.pattern.match(event.topic)
    if captures is None:
        assert route.pattern is not None  # noqa: S101 - a route without a topic always matches
        return {**result, "fits": False, "why": f"the topic does not fit {route.pattern.text}"}
    try:
        message = route.run(event, payload, captures, MessageIds(event.received_at_ms))
        if message is not None:
            check_growth(len(message[1]), event.size)
    except ROUTE_ERRORS as error:
        cause = route.dead_letter_reason(error)
        if cause is not None:
            return {**result, "fits": True, "dead_letter": cause.reason, "why": cause.detail}
        message = None
    if message is None:
        return {**result, "fits": False, "why": _why_not(route, captures, event, payload)}
    return {**result, "fits": True, "queue": route.queue, "message": json.loads(message[1])}


def _why_not(route: Route, captures: tuple[str, ...], event: Event, payload: object) -> str:
    """Evaluate `when` again, without the guard that treats a missing field as false."""
    text, evaluate = compile_condition(route)
    try:
        evaluate(event, payload, captures, None)
    except EXPRESSION_ERRORS as error:
        return f"when: {expressions.explain_failure(error, route.filename).cause} in `{text}`"
    return f"when: `{text}` is not true"


def _unmatched(loaded: Config, source: str) -> dict[str, Any]:
    if loaded.sources[source].dead_letter_unmatched:
        return {"route": None, "dead_letter": "unmatched", "why": "no route's topic fits"}
    return {"route": None, "why": "no route's topic fits: the event is dropped (unmatched: drop)"}


def _text(results: list[dict[str, Any]]) -> str:
    lines = []
    for result in results:
        name = result["route"] or "event"
        if "message" in result:
            lines.append(f"{name}: fits; to queue {result['queue']}:")
            lines.append(json.dumps(result["message"], indent=2))
        elif "dead_letter" in result:
            lines.append(f"{name}: dead letter ({result['dead_letter']}): {result['why']}")
        else:
            lines.append(f"{name}: {result['why']}")
    return "\n".join(lines)
