"""The notes of `check` on values that are always text: of forms, entries of streams, tables and captures."""

from __future__ import annotations

from typing import Any, Final

import pytest

from bridge.commands.text_notes import text_notes
from bridge.config import Config

_MQTT: Final[dict[str, Any]] = {"type": "mqtt", "url": "mqtt://m", "client_id": "c"}
_STREAM: Final[dict[str, Any]] = {"type": "redis-stream", "url": "redis://r/1", "streams": ["s"], "group": "g"}
_TABLES: Final = {
    "d": {"file": "d.csv", "key": "device"},
    "limits": {"file": "d.csv", "key": "device", "value": "limit"},
    "rows": {"file": "rows.yaml"},
}
_NUMBER: Final = "write float({0}), or int({0})"
_BOOLEAN: Final = 'write {0} == "true", or bool({0})'


def _notes(source: dict[str, Any], **route: Any) -> list[str]:
    loaded = Config.model_validate(
        {"sources": {"s": source}, "tables": _TABLES, "routes": [{"from": "s", "actor": "a", **route}]}
    )
    return [note.message for note in text_notes(loaded)]


@pytest.mark.parametrize(
    ("when", "text", "words"),
    [
        (
            'payload.v > lookup("d", payload.d).limit',
            'lookup("d", payload.d).limit',
            "is an error unless the other side is text too",
        ),
        ('lookup("d", payload.d).opens < format_time(received_at, "%H:%M") < payload.closes', None, ""),
        ('"08:00" < lookup("d", payload.d).opens and lookup("limits", 1) < lookup("limits", 2)', None, ""),
        ('5.5 > lookup("d", payload.d).limit', 'lookup("d", payload.d).limit', "is an error"),
        ('int(payload.v) == lookup("limits", payload.d)', 'lookup("limits", payload.d)', "is never true"),
        ('lookup("limits", payload.d, 0) == 5', 'lookup("limits", payload.d, 0)', "is never true"),
        ('lookup("limits", payload.d, 0) == 0', None, ""),
        ('lookup("limits", payload.d, payload.v) == 5', None, ""),
        ('lookup("limits", payload.d, 0) < 5', 'lookup("limits", payload.d, 0)', "is an error"),
        ('float(lookup("limits", payload.d)) < 5 and lookup("rows", payload.d).limit < 5', None, ""),
        ('lookup("d", payload.d)["on"] == true', 'lookup("d", payload.d)["on"]', "is never true"),
        ('lookup("d", payload.d, {"on": true}).on == true', None, ""),
        ("oven == 7", "oven", "is never true"),
        ("oven != 7", "oven", "is always true"),
        ("3 < oven", "oven", "is an error"),
        ("oven in [7, 8]", "oven", "is never true"),
        ("oven not in [true]", "oven", "is always true"),
        ('oven in [7, "8"] and oven == "7" and oven < "9" and int(oven) > 7', None, ""),
        ("topic == false", "topic", "is never true"),
        ("headers.n >= 1", "headers.n", "is an error"),
        ("meta.correlation_id == 1", "meta.correlation_id", "is never true"),
        ("meta.qos == 1 and meta.expires_in > 5", None, ""),
        ("decimal(payload.v) > 5", "decimal(payload.v)", "is an error"),
        ('format_time(received_at, "%H") < 8', 'format_time(received_at, "%H")', "is an error"),
        ("payload.v > 5 and payload.on == true and payload.n + 1 == 3", None, ""),
    ],
)
def test_a_text_that_is_compared_with_a_number(when: str, text: str | None, words: str) -> None:
    """It is noted where no event can make it right, with the remedy."""
    expected = []
    if text is not None:
        part = when
        remedy = (_BOOLEAN if "true" in when or "false" in when else _NUMBER).format(text)
        expected = [f"route a: `{text}` is text, so `{part}` {words}; {remedy}"]
    assert _notes(_MQTT, topic="ovens/{oven}", when=when) == expected
    if text is not None:
        assert _notes(_MQTT, topic="ovens/{oven}", args=[f"$[{when}]"]) == expected


@pytest.mark.parametrize(
    ("source", "route"),
    [
        ({**_MQTT, "decode": "form"}, {}),
        (_MQTT, {"decode": "form"}),
        (_STREAM, {}),
    ],
)
def test_a_payload_whose_fields_are_text(source: dict[str, Any], route: dict[str, Any]) -> None:
    """Arithmetic and a condition have their own remedies; `== true` would never fit."""
    words = 'is true for every text, also for "false"; write {0} == "true", or bool({0})'
    cases = {
        "payload.n + 1 > 2": f"`payload.n` is text, so `payload.n + 1` is an error; {_NUMBER.format('payload.n')}",
        "-payload.n == 2": f"`payload.n` is text, so `-payload.n` is an error; {_NUMBER.format('payload.n')}",
        "payload.on == true": f"`payload.on` is text, so `payload.on == true` is never true; {_BOOLEAN.format('payload.on')}",
        "default(payload.on, false)": f"`default(payload.on, false)` {words.format('default(payload.on, false)')}",
        "not payload.on": f"`payload.on` {words.format('payload.on')}",
    }
    for when, note in cases.items():
        assert _notes(source, **route, when=when) == [f"route a: {note}"]
    assert _notes(source, **route, kwargs={"a": "$1 if payload.on else 0"}) == [
        f"route a: `payload.on` {words.format('payload.on')}"
    ]
    assert _notes(source, **route, when='payload.on == "true" and payload.x.y == 1', kwargs={"a": "$payload.on"}) == []


def test_a_payload_that_is_another() -> None:
    """A route reads the body in its own way, and the field of an entry may be JSON."""
    assert _notes({**_MQTT, "decode": "form"}, decode="json", when="payload.n > 2") == []
    assert _notes({**_STREAM, "field": "data"}, when="payload.n > 2") == []
    assert _notes({**_STREAM, "field": "data"}, when="headers.n > 2") != []
    assert _notes({**_MQTT, "decode": "text"}, when="payload > 2") != []
    assert _notes({"type": "amqp", "url": "amqp://a", "queue": "q"}, when="headers.n > 2") == []


def test_a_note_stands_at_its_part() -> None:
    """Also in the key of a source."""
    source = {**_MQTT, "decode": "form", "deduplicate": {"key": '$f"{payload.id + 1}"'}}
    loaded = Config.model_validate({
        "sources": {"s": source}, "routes": [{"from": "s", "actor": "a", "args": ["$[0, payload.n * 2]"]}],
    })  # fmt: skip
    found = [(note.path, note.offset) for note in text_notes(loaded)]
    assert found == [(("sources", "s", "deduplicate", "key"), 4), (("routes", 0, "args", 0), 5)]
