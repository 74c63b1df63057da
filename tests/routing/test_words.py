"""The words of dead letters: whoever writes a route knows YAML and JSON, and nothing of Python's types."""

from __future__ import annotations

from typing import Any

import cbor2
import msgspec
import pytest

from tests.routing.test_routes import results
from tests.support.bodies import refusal

#: Values of an event, the words for their kinds, and the words for themselves.
VALUES: list[tuple[object, str, str]] = [
    (None, "null", "null"),
    (True, "true or false", "true"),
    (7, "a number", "7"),
    (1.5, "a number", "1.5"),
    ("it's", "text", '"it\'s"'),
    (10**100, "a number", "a huge number"),
    ([True, None], "a list", "a list"),
    ({"a": None}, "a mapping", "a mapping"),
]
THEN: dict[str, Any] = {"actor": "b"}
#: Routes that read `payload.v`; the text of the dead letter, in which KIND and VALUE are those words; what is taken.
ROUTES: dict[str, tuple[dict[str, Any], str, tuple[type, ...]]] = {
    "args": ({"args": "$payload.v"}, "args takes a list, not KIND", (list,)),
    "kwargs": ({"kwargs": "$payload.v"}, "kwargs takes a mapping, not KIND", (dict,)),
    "args of a step": ({"then": [{**THEN, "args": "$payload.v"}]}, "then.0: args takes a list, not KIND", (list,)),
    "kwargs of a step": (
        {"then": [{**THEN, "kwargs": "$payload.v"}]}, "then.0: kwargs takes a mapping, not KIND", (dict,),
    ),
    "message_id": (
        {"then": [{**THEN, "message_id": "$payload.v"}]},
        "then.0: message_id takes text of 1 to 255 characters, not VALUE", (str, type(None)),
    ),
    "an actor": (
        {"name": "n", "actor": "$payload.v", "allow": {"actor": ["a"]}}, "actor: VALUE is not in allow.actor", (),
    ),
    "a queue": ({"queue": "$payload.v", "allow": {"queue": ["a"]}}, "queue: VALUE is not in allow.queue", ()),
    "queue_by": (
        {"queue_by": {"key": "$payload.v", "queues": {"a": "b"}}},
        "queue_by.key: takes text, a number, true, false or null, not KIND", (type(None), bool, int, float, str),
    ),
    "foreach": ({"foreach": "$payload.v"}, "foreach: takes a list, not KIND", (list,)),
    "delay": ({"delay": "$payload.v"}, "delay takes milliseconds from 0 to ten years, not VALUE", (int, float)),
    "deduplicate": (
        {"name": "n", "deduplicate": {"key": "$payload.v"}},
        "deduplicate.key: a deduplication key is text or a number, not KIND", (int, float, str),
    ),
    "an option": (
        {"options": {"store_results": "$payload.v"}}, "options.store_results: takes true or false, not KIND", (bool,),
    ),
    "arithmetic": ({"args": ["$payload.v + 1"]}, "args.0: '+' takes numbers, not KIND", (int, float)),
    "a field": ({"args": ["$payload.v.x"]}, "args.0: KIND has no fields in `payload.v.x`", (dict,)),
}  # fmt: skip


@pytest.mark.parametrize("where", ROUTES)
def test_a_dead_letter_speaks_of_values_as_yaml_does(where: str) -> None:
    """Not of None, True, dict and NoneType."""
    route, words, takes = ROUTES[where]
    for value, kind, itself in VALUES:
        if type(value) in takes:
            continue
        (letter,) = results(route, payload={"v": value})
        assert letter["detail"].startswith(words.replace("KIND", kind).replace("VALUE", itself)), value


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("cbor", cbor2.dumps(cbor2.undefined), "JSON has no undefined value"),
        ("cbor", cbor2.dumps([cbor2.CBORSimpleValue(7)] * 9_000), "JSON has no simple value"),
        ("cbor", cbor2.dumps(cbor2.CBORTag(0, 1)), "a tag has a value of another kind"),
        ("cbor", cbor2.dumps(cbor2.CBORTag(1, "1")), "a tag has a value of another kind"),
        ("cbor", cbor2.dumps(cbor2.CBORTag(2, 1)), "a tag has a value of another kind"),
        ("cbor", cbor2.dumps(cbor2.CBORTag(100, "1")), "a tag has a value of another kind"),
        ("cbor", cbor2.dumps(cbor2.CBORTag(0, "now")), "not a time in ISO 8601: 'now'"),
        ("msgpack", msgspec.msgpack.encode(msgspec.msgpack.Ext(5, b"1")), "JSON has no extension type"),
        ("json", b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_body_that_is_refused_is_refused_without_pythons_types(kind: str, body: bytes, says: str) -> None:
    """Nor with those of the libraries that read it."""
    assert refusal(kind, body).detail.partition(": ")[2] == says


def test_a_byte_that_a_charset_does_not_have() -> None:
    """The charset has the name that the configuration gives it."""
    assert (
        refusal("text", b"caf\x81", charset="windows-1252").detail
        == "not text in windows-1252: byte 0x81 in position 3"
    )
