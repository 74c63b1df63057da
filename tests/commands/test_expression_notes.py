"""`check`: the notes on expressions."""

from __future__ import annotations

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
    ("route", "hidden"),
    [
        ("deduplicate: {key: $payload.email}", "payload.email"),
        ("deduplicate: {key: '$lower(payload[\"email\"])'}", "payload.email"),
        ("deduplicate: {key: '$headers[\"X-Mail\"]'}", "headers.x-mail"),
        ("foreach: $payload.items, deduplicate: {key: '$f\"{payload.id}/{item.card.no}\"'}", "payload.items.card"),
        ("foreach: '$[l for l in payload.items if l.q]', deduplicate: {key: $to_json(item)}", "payload.items.card"),
        ("deduplicate: {key: $sha256(payload.email)}", ""),
        ("foreach: $payload.items, deduplicate: {key: $item.id}", ""),
        ("deduplicate: {key: $payload.id}", ""),
    ],
)
def test_a_key_that_shows_a_redacted_field_has_a_note(run: Terminal, path: Path, route: str, hidden: str) -> None:
    """Redis holds each key of `deduplicate` in clear."""
    path.write_text(
        "sources: {s: {type: redis-pubsub, url: 'redis://localhost:1', channels: [c]}}\n"
        "dead_letters: {redact: [payload.email, payload.items.card, headers.x-mail]}\n"
        f"routes:\n  - {{from: s, actor: a, name: r, {route}}}\n"
    )
    note = f"note: route r: Redis keeps this key as it is, and with it {hidden}, which dead_letters.redact leaves out; write $sha256(...) around a text"
    assert (note in run("check", "CONFIG")) is bool(hidden)


def test_so_has_the_key_of_a_source(run: Terminal, path: Path) -> None:
    """At its own place."""
    path.write_text(
        "sources:\n  s: {type: mqtt, url: 'mqtt://localhost:1', client_id: c, deduplicate: {key: $payload.email}}\n"
        "dead_letters: {redact: [payload]}\nroutes: [{from: s, actor: a}]\n"
    )
    assert f"{path}:2:79: note: sources.s: Redis keeps this key as it is, and with it payload, which" in run(
        "check", "CONFIG"
    )
