"""Routes that read the body each in its own way, and check it by a schema of their own: in a tap, as a test of a tap, and in `bridge.testing`."""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.config import Config
from bridge.config.loading import load_with_places
from bridge.config.substitution import Substitution
from bridge.delivery.tapped import TapLines
from bridge.delivery.tapped_part import Part
from bridge.dry_run.suite import Suite
from bridge.model.accounting import Outcome
from bridge.model.batch import Batch, Written
from bridge.model.event import Event
from bridge.model.taps import TapFilter
from bridge.routing.compiler import check_routes, compile_routes
from bridge.routing.router import make as make_router
from bridge.testing import Bridge, NotDelivered
from tests.support.routing import MQTT

#: The source's own payload is JSON.
ROUTES: list[dict[str, Any]] = [
    {"name": "json", "args": ["$payload.n"]},
    {"name": "text", "decode": "text", "args": ["$payload"]},
    {"name": "bytes", "decode": "bytes", "args": ["$payload"]},
    {"name": "checked", "args": ["$payload.n"], "validate": {"type": "object", "properties": {"n": {"maximum": 5}}}},
    {"name": "lines", "decode": "ndjson", "foreach": "$payload", "args": ["$item"], "validate": {"items": {"type": "object"}}},
]  # fmt: skip
M, D = "message", "dead-letter"
#: A body, the verdict of each route, and the arguments of the messages in their order; a route that does not fit has none.
BODIES: list[tuple[bytes, dict[str, str], list[Any]]] = [
    (b'{"n": 1}', {"json": M, "text": M, "bytes": M, "checked": M, "lines": M}, [1, '{"n": 1}', "eyJuIjogMX0=", 1, {"n": 1}]),
    (b'{"n": 9}', {"json": M, "text": M, "bytes": M, "checked": D, "lines": M}, [9, '{"n": 9}', "eyJuIjogOX0=", {"n": 9}]),
    (b'{"n": 1}\n{"n": 2}', {"json": D, "text": M, "bytes": M, "checked": D, "lines": M},
     ['{"n": 1}\n{"n": 2}', "eyJuIjogMX0KeyJuIjogMn0=", {"n": 1}, {"n": 2}]),
    (b"7", {"json": D, "text": M, "bytes": M, "checked": D, "lines": D}, ["7", "Nw=="]),
    (b"\xff", {"json": D, "text": D, "bytes": M, "checked": D, "lines": D}, ["/w=="]),
]  # fmt: skip


def written(path: Path, routes: list[dict[str, Any]], **source: Any) -> Path:
    """Write the configuration; return its path."""
    content = {
        "sources": {"s": {**MQTT, "topics": ["t"], **source}},
        "routes": [{"from": "s", "actor": f"do_{route['name']}", **route} for route in routes],
    }
    path.write_text(yaml.safe_dump(content))
    return path


def routed(config: Config, body: bytes) -> tuple[TapLines, Part]:
    """Return an event that was routed and written, as taps look at it."""
    table = compile_routes(config)[0]["s"]
    made = Batch([Event("s", "t", body, 1_764_223_200_123, len(body), raw=({}, {}))])
    make_router(config.sources["s"], table).route(made)
    made.written = Written(sum(len(column.messages) for column in made.queues.values()))
    return TapLines(config), Part(made, Outcome.WRITTEN, redelivers=True, table=table)


@pytest.mark.parametrize(("body", "verdicts", "arguments"), BODIES)
def test_each_route_reads_the_body_in_its_own_way(
    tmp_path: Path, body: bytes, verdicts: dict[str, str], arguments: list[Any]
) -> None:
    """A tap says what was done; the event of a tap is a test that holds; `bridge.testing` makes the same messages."""
    path = written(tmp_path / "bridge.yaml", ROUTES)
    config = load_with_places(path, Substitution(os.environ), check_routes).model
    lines, part = routed(config, body)
    line = json.loads(lines.line(part, 0, TapFilter(contents=True)))
    assert {name: route["verdict"] for name, route in line["routes"].items()} == verdicts
    assert [message["args"][0] for message in line["messages"]] == arguments
    assert [message["actor"] for message in line["messages"] if message["actor"] != "do_lines"] == [
        f"do_{name}" for name, verdict in verdicts.items() if verdict == M and name != "lines"
    ]
    causes = {name: route["why"] for name, route in line["routes"].items() if route["verdict"] == D}
    letters = {letter.route: letter.detail for _, letter in part.batch.dead_letters}
    assert causes == letters
    assert line["outcome"] == ("dead-lettered" if letters else "enqueued")

    tapped = json.loads(lines.test(lines.test_item(part, 0)))
    tests = tmp_path / "bridge_test.yaml"
    tests.write_text(f"tests:\n{tapped['test']}")
    suite = Suite(str(path))
    assert [one.differences for one in suite.run(range(len(suite.names())))] == [[]]
    (case,) = yaml.safe_load(tests.read_text())["tests"]
    assert len(case["expect"]) == len(arguments)

    event = {"from": "s", "topic": "t", "payload_base64": base64.b64encode(body).decode()}
    if not letters:
        assert [made.args[0] for made in Bridge(path).route(event)] == arguments
        return
    with pytest.raises(NotDelivered) as caught:
        Bridge(path).route(event)
    assert all(f"route {name}: {detail}" in str(caught.value) for name, detail in letters.items())


def test_the_schema_of_the_source_is_that_of_its_own_payload(tmp_path: Path) -> None:
    """A route with a `decode` of its own takes what does not fit it; the others make one dead letter, and the tap says why."""
    path = written(tmp_path / "bridge.yaml", ROUTES[:2], validate={"type": "object", "required": ["n"]})
    config = load_with_places(path, Substitution(os.environ), check_routes).model
    lines, part = routed(config, b'{"m": 1}')
    line = json.loads(lines.line(part, 0, TapFilter(contents=True)))
    cause = 'payload: "n" is a required property (validate#/required)'
    assert line["routes"] == {"json": {"verdict": D, "why": cause}, "text": {"verdict": M}}
    assert [(message["actor"], message["args"]) for message in line["messages"]] == [("do_text", ['{"m": 1}'])]
    assert line["dead_letter"] == {"reason": "invalid", "route": "json", "detail": cause}
    with pytest.raises(NotDelivered, match=re.escape(f"route json: {cause}")):
        Bridge(path).route({"from": "s", "topic": "t", "payload": {"m": 1}})
