"""A dry run, and a test of the file, of bodies of every kind, also repaired and dropped ones."""

from __future__ import annotations

import base64
import gzip
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.config.loading import load_with_places
from bridge.config.substitution import Substitution
from bridge.dry_run.as_test import as_test
from bridge.dry_run.runs import DryRun
from bridge.dry_run.suite import Suite
from bridge.model.event import Event
from bridge.routing.compiler import check_routes

CONFIG = """\
sources:
  home: {type: mqtt, url: mqtt://h, topics: ["#"], decode: json-or-text, empty: drop}
  form: {type: amqp, url: amqp://h/, queue: q, decode: form}
  lines: {type: amqp, url: amqp://h/, queue: q2, decode: ndjson}
  mixed: {type: amqp, url: amqp://h/, queue: q3, empty: drop}
routes:
  - {name: home, from: home, actor: a, args: [$payload]}
  - {name: form, from: form, actor: a, args: [$payload.a]}
  - {name: lines, from: lines, actor: a, args: ["$payload[1]"]}
  - {name: json, from: mixed, when: payload.n > 1, actor: a, args: [$payload.n]}
  - {name: text, from: mixed, actor: a, args: [$payload], decode: text}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write the configuration; return its path."""
    file = tmp_path / "bridge.yaml"
    file.write_text(CONFIG)
    return file


def _case(path: Path, event: Event) -> dict[str, Any]:
    """Return the event as a test, which passes."""
    loaded = load_with_places(path, Substitution(os.environ), check_routes)
    text = as_test(loaded.model, event, "x")
    path.with_name("bridge_test.yaml").write_text(f"tests:\n{text}")
    suite = Suite(str(path))
    assert [one.differences for one in suite.run(range(len(suite.names())))] == [[]]
    (case,) = yaml.safe_load(f"x:\n{text}")["x"]
    return dict(case)


@pytest.mark.parametrize(
    ("source", "body", "meta", "written"),
    [
        ("home", b"on", {}, ("payload", "on")),
        ("home", b'{"a": 1}', {}, ("payload", {"a": 1})),
        ("home", b"on\0", {}, ("body", "on\0")),
        ("home", b"", {}, ("body", "")),
        ("form", b"a=1&a=2", {}, ("payload", {"a": ["1", "2"]})),
        ("lines", b"1\n2", {}, ("payload", [1, 2])),
        ("mixed", b'{"n": 2}', {}, ("body", '{"n": 2}')),
        ("mixed", b"on", {}, ("body", "on")),
        ("mixed", gzip.compress(b'{"n": 2}', mtime=0), {"content_encoding": "gzip"}, ("payload_base64", None)),
    ],
)
def test_an_event_as_a_test(
    path: Path, source: str, body: bytes, meta: dict[str, Any], written: tuple[str, object]
) -> None:
    """A body that had to be repaired, or that routes read in two ways, is written as it came."""
    event = Event(source, "t" if source == "home" else "", body, 1_764_223_200_000, raw=({}, meta))
    key, value = written
    assert _case(path, event)["event"][key] == (base64.b64encode(body).decode() if value is None else value)


def test_the_explanations_of_a_dry_run(path: Path) -> None:
    """A route that can't read the body has the dead letter; one that can has its message; a dropped body says so."""
    run = DryRun(load_with_places(path, Substitution(os.environ), check_routes).model)
    text = {one.route: one for one in run.run(Event("mixed", "t", b"on", 0), 0).explained()}
    assert (text["json"].verdict, text["text"].verdict) == ("dead-letter", "message")
    assert text["json"].why.startswith("not JSON")
    small = {one.route: one for one in run.run(Event("mixed", "t", b'{"n": 1}', 0), 0).explained()}
    assert small["json"].why == "when: `payload.n > 1` is false: payload.n is 1"
    for source in ("mixed", "home"):
        dropped = run.run(Event(source, "t", b"", 0), 0)
        assert (dropped.messages, dropped.dead_letters) == ([], [])
        assert {one.verdict for one in dropped.explained()} == {"no-payload"}
        assert all("empty: drop" in one.why for one in dropped.explained())
