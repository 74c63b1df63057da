"""Names that hold line breaks and signs to a terminal: each mistake, note and result of a command is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.commands.conftest import Terminal

#: A line break, a bell, a sign that an old terminal obeys, and one that turns a line around.
HOSTILE: Final = "a\nb\x07\x9b\u202e"
SHOWN: Final = r"a\nb\x07\x9b\u202e"
SOURCE: Final = {"type": "redis-pubsub", "url": "redis://h", "channels": [HOSTILE]}


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a configuration whose name is hostile; the commands are run beside it."""
    monkeypatch.chdir(tmp_path)
    return Path(f"{HOSTILE}.yaml")


def _lines(text: str) -> list[str]:
    """Return the lines of an output, of which each is printable."""
    lines = text.split("\n")
    assert all(line.isprintable() for line in lines), lines
    return lines


@pytest.mark.parametrize(
    "parts",
    [
        {"sources": {HOSTILE: SOURCE}},
        {"routes": [{"from": HOSTILE, "actor": "a"}]},
        {"routes": [{"from": "s", "actor": "a", HOSTILE: 1}]},
        {"routes": [{"from": "s", "actor": "a", "name": HOSTILE}]},
        {"routes": [{"from": "s", "actor": "a", "kwargs": {HOSTILE: "$paylod"}}]},
        {"routes": [{"from": "s", "actor": "a", "validate": f"{HOSTILE}.json"}]},
        {"tables": {HOSTILE: {"values": {}}}},
        {"tables": {"t": {"file": f"{HOSTILE}.csv", "key": HOSTILE}}},
        {"include": [f"{HOSTILE}x.yaml"]},
        {"manifest": HOSTILE},
        {"tests": [{"name": HOSTILE, "event": {"from": HOSTILE}, "expect": []}]},
        {"tests": [{"name": HOSTILE, "event": {"from": "s", "payload_file": HOSTILE}, "expect": []}]},
        {"tests": [{"name": "t", "event": {"from": "s"}, "expect": [{"route": HOSTILE}]}]},
    ],
    ids=str,
)
def test_a_mistake_is_one_line_and_the_line_of_its_file(run: Terminal, hostile: Path, parts: dict[str, Any]) -> None:
    """Whatever the names in it hold, and that of the file."""
    hostile.write_text(json.dumps({"sources": {"s": SOURCE}, **parts}))
    run("check", str(hostile), code=78)
    lines = _lines(run.err)
    assert lines[0].startswith(f"{SHOWN}.yaml:1:")
    mistakes = sum(line.startswith(f"{SHOWN}.yaml:") for line in lines)
    assert lines[-2].startswith(f"dramatiq-bridge: {mistakes} mistake")
    assert len(lines) == 3 * mistakes + 2


def test_the_results_of_the_commands_are_lines(run: Terminal, hostile: Path) -> None:
    """Notes, tests that pass and fail, and why a route does not fit."""
    test = {"name": HOSTILE, "event": {"from": "s", "topic": HOSTILE, "payload": HOSTILE}, "expect": [{"route": "r"}]}
    other = {**test, "event": {"from": "s", "topic": "x", "payload": HOSTILE}, "expect": []}
    route = {"from": "s", "actor": "a", "name": "r", "topic": HOSTILE, "args": [f"payload.{HOSTILE}"]}
    config = {"sources": {"s": SOURCE}, "routes": [route], "spool": {"directory": HOSTILE}}
    hostile.write_text(json.dumps({**config, "tests": [test, other]}))
    output = _lines(run("check", str(hostile)))
    assert any(f"note: route r: 'payload.{SHOWN}' is text" in line for line in output)
    output = _lines(run("test", str(hostile), "--coverage"))
    assert f"{SHOWN}.yaml: 2 tests" in output
    asked = run("route", str(hostile), "--from", "s", "--topic", "x", "--payload", "1", code=3)
    assert _lines(asked)[0].startswith(f"r: topic: 'x' does not fit {SHOWN}")
    hostile.write_text(json.dumps({**config, "tests": [{**test, "expect": []}]}))
    assert f"    {SHOWN}.yaml:1" in _lines(run("test", str(hostile), code=1))
    run("route", str(hostile), "--from", "s", "--payload", f"@{HOSTILE}", code=2)
    assert len(_lines(run.err)) == 2
