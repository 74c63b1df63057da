"""`check`: the notes on expressions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.conftest import Terminal

BOOL = 'bool(x) reads a text: "false" is false, and a text that says neither is an error, as null is'
TIMESTAMP = "timestamp(x) of a text without an offset is an error:"


def _check(run: Terminal, path: Path, route: str, source: str = "") -> str:
    path.write_text(
        "sources:\n"
        f"  s: {{type: redis-pubsub, url: 'redis://localhost:1', channels: [c]{source}}}\n"
        f"routes:\n  - {{from: s, actor: a, name: r, {route}}}\n"
    )
    return run("check", "CONFIG")


@pytest.mark.parametrize(
    ("route", "note"),
    [
        ("when: bool(payload.a)", BOOL),
        ("args: ['$[1, bool(payload.a)]']", BOOL),
        ("kwargs: {x: {y: '$f\"{timestamp(payload.a)}\"'}}", TIMESTAMP),
        ("delay: '$timestamp(payload.a) - now()'", TIMESTAMP),
        ("options: {max_age: '$timestamp (payload.a)'}", TIMESTAMP),
        ("args: [$payload.a], when: timestamp(payload.a) > 1", TIMESTAMP),
    ],
)
def test_a_call_whose_meaning_is_narrow_has_a_note(run: Terminal, path: Path, route: str, note: str) -> None:
    """Wherever it stands."""
    output = _check(run, path, route)
    assert f"{path}:4:" in output
    assert f"note: route r: {note}" in output
    assert output.count("note: route") == 1


def test_a_key_of_a_source_has_the_note(run: Terminal, path: Path) -> None:
    """Its expression is one as well."""
    path.write_text(
        "sources:\n  s: {type: amqp, url: 'amqp://localhost:1', queue: q,\n"
        "      deduplicate: {key: $timestamp(payload.at), within: 1h}}\n"
        "routes:\n  - {from: s, actor: a}\n"
    )
    assert f"{path}:3:26: note: sources.s: {TIMESTAMP}" in run("check", "CONFIG")


@pytest.mark.parametrize(
    "route",
    [
        "when: bool(payload.a == 1)",
        "args: ['$timestamp(payload.a, \"iso\")', 'bool(x) is a text', '$\"bool(x)\"']",
        "args: ['$timestamp(payload.a, \"%F\", \"UTC\")', '$has(payload.timestamp)', $$bool(x)]",
        "topic: $bool(x)",
    ],
)
def test_other_calls_have_none(run: Terminal, path: Path, route: str) -> None:
    """A comparison is true or false; a format that is written out was meant."""
    output = _check(run, path, route)
    assert "reads a text" not in output
    assert TIMESTAMP not in output


@pytest.mark.parametrize(
    ("when", "fields"),
    [
        ("payload.on", {"payload.on": "payload.on == true"}),
        ("payload.a == 1 and not payload.on", {"payload.on": "payload.on == true"}),
        (
            "default(payload.on, false) or headers.x",
            {
                "default(payload.on, false)": "default(payload.on, false) == true",
                "headers.x": 'headers.x == "true", or bool(headers.x)',
            },
        ),
        (
            "payload.b == true if payload.on else plant",
            {"plant": 'plant == "true", or bool(plant)', "payload.on": "payload.on == true"},
        ),
        ("len(x for x in payload.xs if x.on) > 1", {"x.on": "x.on == true"}),
        ("payload.on == true and has(payload.x) and not meta.retain and len(topic) > 3", {}),
    ],
)
def test_check_notes_a_field_that_is_a_condition(when: str, fields: dict[str, str], run: Terminal, path: Path) -> None:
    """For Python the text "false" is true; the note stands at the field."""
    path.write_text(
        "sources: {s: {type: mqtt, url: mqtt://localhost:1, client_id: a, session_expiry: 1h}}\n"
        f"routes:\n  - from: s\n    topic: 'a/{{plant}}'\n    actor: a\n    when: {json.dumps(when)}\n"
    )
    (report,) = json.loads(run("check", "CONFIG", "--json"))
    found = [note for note in report["notes"] if "is true for every text" in note["message"]]
    assert [note["message"] for note in found] == [
        f'route a: `{field}` is true for every text, also for "false"; write {remedy}'
        for field, remedy in fields.items()
    ]
    assert [note["line_text"] for note in found] == [""] * len(fields)
    assert [note["column"] for note in found] == [12 + when.index(field) for field in fields]


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ("$1 if payload.on else payload.b", ["payload.on"]),
        ("$[x for x in payload.xs if x.on and not x.off]", ["x.on", "x.off"]),
        ("$[item for item in payload.xs if item.on == true]", []),
        ("$payload.a or payload.b", []),
    ],
)
def test_a_condition_in_a_value_is_noted_too(value: str, fields: list[str], run: Terminal, path: Path) -> None:
    """Behind an `if` or a `not`; of `or` the value itself may be meant."""
    path.write_text(
        "sources: {s: {type: redis-pubsub, url: 'redis://localhost:1', channels: [c]}}\n"
        f"routes:\n  - from: s\n    actor: a\n    foreach: {json.dumps(value)}\n"
    )
    (report,) = json.loads(run("check", "CONFIG", "--json"))
    found = [note for note in report["notes"] if "is true for every text" in note["message"]]
    assert [(note["message"].split("`")[1], note["column"]) for note in found] == [
        (field, 15 + value.index(field)) for field in fields
    ]
