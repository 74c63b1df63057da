"""`check`: the notes on keys of `deduplicate` that show a redacted field."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.conftest import Terminal


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
