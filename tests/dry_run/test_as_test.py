"""A real event becomes a test that loads, and holds."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import cbor2
import msgspec
import pytest
import yaml

from bridge.config.loading import load_with_places
from bridge.config.substitution import Substitution
from bridge.dry_run.as_test import as_test
from bridge.dry_run.suite import Suite
from bridge.model.event import Event
from bridge.routing.body_reader import Reader
from bridge.routing.compiler import check_routes
from bridge.routing.redaction import Redaction

CONFIG = """\
sources:
  plant: {type: mqtt, url: mqtt://h, topics: [plants/#]}
  old: {type: mqtt, url: mqtt://h, version: 3.1.1, topics: [plants/#]}
  orders: {type: amqp, url: amqp://h/, queue: q, decode: auto}
  bytes: {type: amqp, url: amqp://h/, queue: q2, decode: bytes}
  cbor: {type: amqp, url: amqp://h/, queue: q3, decode: cbor}
  text: {type: redis-pubsub, url: redis://h, channels: [c], decode: text}
  audit: {type: redis-stream, url: redis://h, streams: [audit], group: g}
routes:
  - {name: hot, from: plant, topic: 'plants/{p}/t', when: payload.c > 250, actor: a, args: [$p, $payload.c], delay: 10s}
  - {name: all, from: plant, actor: b, kwargs: {unit: $payload.unit, token: '${TOKEN}'}}
  - {name: old, from: old, actor: b, args: [$payload]}
  - {name: orders, from: orders, actor: b, args: [$payload, '$meta.timestamp'], options: {max_retries: 3, time_limit: 30s}}
  - {name: bytes, from: bytes, actor: b, args: [$payload]}
  - {name: cbor, from: cbor, actor: b, args: [$payload]}
  - {name: text, from: text, actor: b, args: ['$json(payload)', $now()]}
  - {name: audit, from: audit, actor: b, args: [$payload.a, $meta.entry_id]}
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the configuration; return its path."""
    monkeypatch.setenv("TOKEN", "s3cret-token")
    file = tmp_path / "bridge.yaml"
    file.write_text(CONFIG)
    return file


def case_of(path: Path, event: Event) -> dict[str, Any]:
    """Return the test as data; it loads beside the configuration, and passes."""
    config = load_with_places(path, Substitution(os.environ), check_routes).model
    text = as_test(config, event, "a \x1b name")
    assert "s3cret" not in text
    for head in ("tests:\n", "", "tests:\n  - {name: x, event: {from: text, topic: c}, expect: []}\n"):
        path.with_name("bridge_test.yaml").write_text(head + text + text)
        suite = Suite(str(path))
        assert [one.differences for one in suite.run(range(len(suite.names())))][-2:] == [[], []]
    assert min(len(line) - len(line.lstrip()) for line in text.splitlines()) == 2
    (case,) = yaml.safe_load(f"x:\n{text}")["x"]
    return dict(case)


def test_messages_and_dead_letters_are_expected(path: Path) -> None:
    """All of each message but the parts that may be secret; of the route that fails, its reason."""
    event = Event("plant", "plants/3/t", b'{"c": 300}', 1_764_223_200_123, raw=({}, {"qos": 1, "retain": False}))
    assert case_of(path, event) == {
        "name": "a \\x1b name",
        "now": "2025-11-27T06:00:00.123Z",
        "event": {"from": "plant", "topic": "plants/3/t", "payload": {"c": 300}},
        "expect": [{"route": "hot", "actor": "a", "queue": "default", "args": ["3", 300], "delay": "10s"}],
        "expect_dead_letter": {"reason": "missing-field", "route": "all"},
    }
    event.body = b'{"c": 1, "unit": "C"}'
    assert case_of(path, event)["expect"] == [{"route": "all", "actor": "b", "queue": "default"}]


@pytest.mark.parametrize(
    ("source", "topic", "body", "raw", "written"),
    [
        ("plant", "plants/x", b'{"c": "${HOME} $${x}", "unit": 1.0}', ({"h": "$${a}"}, {"content_type": "x"}), "payload"),
        ("plant", "plants/x", b'{"c": 1e20, "unit": "\\u0000\\u2028\\u0085\\ud83d\\ude00"}', ({}, {}), "payload"),
        ("plant", "plants/x", b'{"unit": "no", "c": "0123"}', ({}, {"correlation_id": "c"}), "payload"),
        ("plant", "plants/x", b"{", ({"h": 1}, {"unknown": 1}), "body"),
        ("plant", "plants/x", b"\xff", ({}, {}), "payload_base64"),
        ("old", "plants/x", b"[1]", ({"h": "x"}, {"content_type": "x"}), "payload"),
        ("orders", "k", b"3", ({"n": 1, "l": [{"d": None}]}, {"timestamp": 1_764_223_200_000, "expires_in": 1.5}), "payload"),
        ("orders", "k", msgspec.msgpack.encode([1]), ({}, {"content_type": "application/msgpack"}), "payload"),
        ("bytes", "k", b"\x00\xff", ({}, {}), "payload_base64"),
        ("bytes", "k", b"text", ({}, {}), "body"),
        ("cbor", "k", cbor2.dumps({"a": b"bytes"}), ({}, {}), "payload"),
        ("cbor", "k", cbor2.dumps({1: 2.5}), ({}, {}), "payload"),
        ("text", "c", b"[1]\n\t", ({}, {}), "payload"),
        ("audit", "audit", b'{"a": "1", "b": ""}', ({}, {"entry_id": "5-1"}), "payload"),
    ],
)  # fmt: skip
def test_every_kind_of_event(path: Path, source: str, topic: str, body: bytes, raw: Any, written: str) -> None:  # noqa: PLR0917 - a row of the table
    """The most readable way of the body that gives an equal payload; headers and meta that the protocol has."""
    case = case_of(path, Event(source, topic, body, 1_764_223_200_000, raw=raw))
    assert written in case["event"]


def test_a_large_event_takes_no_seconds(path: Path) -> None:
    """Its body is one text, and its arguments are not compared: the rest holds. A bridge makes such tests too."""
    body = msgspec.json.encode([{"a": n, "b": "x"} for n in range(12_000)])
    event = Event("orders", "k", body, 1_764_223_200_000, raw=({}, {"timestamp": 1_764_223_200_000}))
    began = time.thread_time()
    case = case_of(path, event)
    assert time.thread_time() - began < 10
    assert case["event"]["body"] == body.decode()
    options = {"max_retries": 3, "time_limit": 30_000}
    assert case["expect"] == [{"route": "orders", "actor": "b", "queue": "default", "options": options}]


def test_redacted_fields_are_named(path: Path) -> None:
    """A comment says what the event is without."""
    config = load_with_places(path, Substitution(os.environ), check_routes).model
    event = Redaction(["payload.card"], {"plant": [Reader("json")]}).event(
        Event("plant", "plants/x", b'{"unit": 1, "card": 5}', 1, raw=({}, {}))
    )
    assert "# without payload.card, by dead_letters.redact" in as_test(config, event, "x")
