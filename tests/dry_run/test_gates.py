"""Tests of a file see the gates of routes: keys in memory, expiries by the time of the test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge import cli
from bridge.dry_run.suite import Suite
from bridge.errors import ConfigError
from bridge.testing import Bridge

LINES = {
    "name": "lines",
    "from": "orders",
    "actor": "pack",
    "foreach": "$payload.lines",
    "args": ["$item"],
    "deduplicate": {"key": '$f"{payload.id}/{item}"', "within": "1h"},
}
TIMED = {"name": "timed", "from": "orders", "actor": "note", "when": "payload.id == 2", "expires": True}
REST = {"name": "rest", "from": "orders", "actor": "other", "otherwise": True}
EVENT = {"from": "orders", "payload": {"id": 1, "lines": ["a", "b", "a"]}}
LATE = {
    "from": "orders", "payload": {"id": 2, "lines": []}, "meta": {"expires_in": 10}, "received_at": "2025-12-31T23:59:00Z",
}  # fmt: skip
MADE = [{"route": "lines", "args": ["a"]}, {"route": "lines", "args": ["b"]}]


def file(tmp_path: Path, *tests: dict[str, Any]) -> str:
    """Write a configuration with these tests; return its path."""
    path = tmp_path / "bridge.yaml"
    sources = {"orders": {"type": "amqp", "url": "amqp://127.0.0.1/", "queue": "q"}}
    content = {"sources": sources, "routes": [LINES, TIMED, REST], "tests": [*tests]}
    path.write_text(json.dumps(content))
    return str(path)


def differences(tmp_path: Path, *tests: dict[str, Any]) -> list[list[str]]:
    """Return the differences of each test."""
    suite = Suite(file(tmp_path, *[{"name": str(number), **test} for number, test in enumerate(tests)]))
    return [result.differences for result in suite.run(range(len(tests)))]


def test_each_test_begins_without_keys(tmp_path: Path) -> None:
    """The second message with a key is left out, and counted; the next test knows nothing of the keys before."""
    test = {"event": EVENT, "expect": MADE, "expect_counts": {"deduplicated": 1}}
    assert differences(tmp_path, test, test) == [[], []]


def test_counts_that_are_not_as_expected(tmp_path: Path) -> None:
    """Each one says so; a test without them asks for none."""
    wrong = {"event": EVENT, "expect": MADE, "expect_counts": {"deduplicated": 2, "expired": 1}}
    assert differences(tmp_path, wrong, {"event": EVENT, "expect": MADE}) == [
        ["expect_counts: expected 2 deduplicated, there are 1", "expect_counts: expected 1 expired, there are 0"],
        [],
    ]


def test_an_event_whose_time_is_up_at_the_time_of_the_test(tmp_path: Path) -> None:
    """No message is made of it, and `otherwise` does not take it: a route was there for it."""
    late = {"event": LATE, "expect_counts": {"expired": 1}}
    in_time = {
        "now": "2025-12-31T23:59:03Z",
        "event": LATE,
        "expect": [{"route": "timed", "options": {"max_age": "7s"}}],
    }
    assert differences(tmp_path, late, in_time) == [[], []]


@pytest.mark.parametrize("counts", [{}, {"deduplicate": 1}, {"expired": -1}, 1])
def test_wrong_counts_are_mistakes(tmp_path: Path, counts: object) -> None:
    """A misspelt name counts nothing, and a test that expects nothing is none."""
    with pytest.raises(ConfigError) as caught:
        Suite(file(tmp_path, {"name": "t", "event": EVENT, "expect": [], "expect_counts": counts}))
    assert "expect_counts" in str(caught.value)
    assert "[key]" not in str(caught.value)


def route(tmp_path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """Return the output of `route` for the event."""
    cli.main(["route", file(tmp_path), "--from", "orders", "--payload", json.dumps(EVENT["payload"]), *more])
    return capsys.readouterr().out


def test_route_shows_the_gates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The key of each message, and how long it is remembered, in JSON and in text; it asks no Redis."""
    first = json.loads(route(tmp_path, capsys, "--json"))["routes"][0]
    assert [message["args"] for message in first["messages"]] == [["a"], ["b"]]
    assert first["gates"] == [{"deduplicate": {"key": f"1/{line}", "within_ms": 3_600_000}} for line in "ab"]
    assert first["deduplicated"] == 1
    text = route(tmp_path, capsys)
    assert '  deduplicate: written unless one with the key "1/a" was written within 1h' in text
    assert "1 more: not written, since their keys are those of messages above" in text


def test_an_application_remembers_keys_between_events(tmp_path: Path) -> None:
    """Only where it asks for it: else each event is the first."""
    bridge = Bridge(file(tmp_path))
    event = {"from": "orders", "payload": {"id": 1, "lines": ["a"]}}
    assert [len(bridge.route(event)) for _ in range(2)] == [1, 1]
    for _ in range(2):
        with bridge.remembering():
            assert [len(bridge.route(event)) for _ in range(3)] == [1, 0, 0]
    assert len(bridge.route(event)) == 1
