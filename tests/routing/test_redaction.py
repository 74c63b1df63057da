"""`dead_letters.redact` keeps fields out of dead letters: out of the body, the headers, and the error that quotes a value."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cbor2
import msgspec
import pytest

from bridge.model.batch import Batch, DeadLetter
from bridge.model.event import Event
from bridge.routing import router
from bridge.routing.body_reader import Reader
from bridge.routing.compiler import compile_routes
from bridge.routing.redaction import RedactedEvent, Redaction
from bridge.sink import RedisSink
from tests.support.batches import dead_letters, load
from tests.support.brokers import Redis

CARD = "4111-1111-1111-1111"
ENCODERS: dict[str, Any] = {"json": msgspec.json.encode, "msgpack": msgspec.msgpack.encode, "cbor": cbor2.dumps}


def event(body: bytes, headers: Mapping[str, object] | None = None, meta: Mapping[str, object] | None = None) -> Event:
    """Make an event of the source `s`."""
    return Event("s", "c", body, 1, raw=(headers or {}, meta or {}))


def redacted(made: Event, *paths: str, decode: str = "json") -> Event:
    """Return the event without the fields at these paths."""
    return Redaction(paths, {"s": [Reader(decode)]}).event(made)


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_field_is_removed_in_the_bodys_own_format(kind: str) -> None:
    """At any depth and of every element of a list; the copy says which paths were really there."""
    payload = {"card": CARD, "items": [{"card": CARD, "n": 1}, {"n": 2}], "deep": {"card": CARD}, "keep": [CARD[:4]]}
    made = redacted(event(ENCODERS[kind](payload)), "payload.card", "payload.items.card", "payload.none", decode=kind)
    assert isinstance(made, RedactedEvent)
    assert made.redacted == ("payload.card", "payload.items.card")
    kept = {"items": [{"n": 1}, {"n": 2}], "deep": {"card": CARD}, "keep": [CARD[:4]]}
    assert made.body == ENCODERS[kind](kept)
    assert made.body_size == len(made.body)


def test_headers_are_found_in_any_case() -> None:
    """Names of headers are compared without regard to case; `redacted` has the name as it was written."""
    made = redacted(
        event(b"{}", {"Authorization": "Bearer x", "x.y": 1, "n": 2}, {"reply_to": "q", "message_id": "m"}),
        *("headers.authorization", "headers.X.y", "meta.reply_to"),
    )
    assert isinstance(made, RedactedEvent)
    assert made.redacted == ("headers.Authorization", "headers.x.y", "meta.reply_to")
    assert made.details() == ({"n": 2}, {"message_id": "m"})


@pytest.mark.parametrize("body", [b"{", b"\xff", b"not json " + CARD.encode(), b""])
def test_a_body_that_cannot_be_decoded_is_left_out_whole(body: bytes) -> None:
    """Where fields of the payload are removed nobody can find them in it; its size is still said."""
    made = redacted(event(body), "payload.card")
    assert made.body == b""
    assert made.body_size == len(body)
    assert isinstance(made, RedactedEvent) is bool(body)


def test_a_body_that_is_not_whole_is_left_out() -> None:
    """Of an event that is too large only the beginning was kept."""
    cut = event(b'{"card": "4111')
    cut.skip(1000)
    made = redacted(cut, "payload.card")
    assert (made.body, made.body_size) == (b"", 1014)


@pytest.mark.parametrize(
    "body", [b'{"items": [{"card": "4111"}], "items": []}', b'{"c\\u0061rd": "4111", "items": []}']
)
def test_a_field_that_stands_twice_or_is_written_otherwise_is_removed(body: bytes) -> None:
    """The last of two counts for a route; the body has neither."""
    assert b"4111" not in redacted(event(body), "payload.items.card", "payload.card").body


def test_text_that_is_json_loses_the_field() -> None:
    """With `decode: text` a route reads it by json()."""
    assert redacted(event(b'{"card": "4111"}'), "payload.card", decode="text").body == b"{}"
    assert redacted(event(b"plain"), "payload.card", decode="text").body == b"plain"


@pytest.mark.parametrize(
    "body", ['\ufeff\ufeff{"card": "4111"}', '{"card": "4111"} {}', '{"c\\u0061rd": "4111"', '{"card": "\\ud800 4111"}']
)
def test_text_that_is_nearly_json_is_left_out(body: str) -> None:
    """With two byte order marks, something behind it, or broken: nobody can take the field out of it."""
    made = redacted(event(body.encode()), "payload.card", decode="text")
    assert (made.body, made.body_size) == (b"", len(body.encode()))
    assert isinstance(made, RedactedEvent)
    assert made.redacted == ("payload",)


def test_an_event_without_the_fields_is_the_event_itself() -> None:
    """Nothing is copied; without paths nothing is even looked at."""
    made = event(b'{"n": 1}', {"h": 1})
    assert redacted(made, "payload.card", "headers.authorization") is made
    broken = Event("s", "c", b"{", 1, raw=None, read=lambda _: pytest.fail("the headers were read"))
    assert Redaction().event(broken) is broken


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        (CARD, f"args.0: '{CARD}' is not a number"),
        (CARD, "args.0: '4111-1111-1…' is not a number"),
        ("it's\n\x00", 'args.0: "it\'s\\n\\x00" is no'),
        (123, "args.0: 123 is too large"),
        (["deep", {"a": CARD}], f"no {CARD}"),
    ],
)
def test_an_error_quotes_no_removed_value(value: object, detail: str) -> None:
    """Neither whole, nor cut, nor as Python writes it."""
    letter = DeadLetter(event(msgspec.json.encode({"card": value})), "wrong-type", detail)
    masked = Redaction(["payload.card"], {"s": [Reader("json")]}).letter(letter).detail
    assert "***" in masked
    assert all(each not in masked for each in ("4111", "123", "it's"))


@pytest.mark.parametrize(
    ("path", "expression"),
    [
        ("payload.card", "int(upper(payload.card))"),
        ("payload.card", "int(split(payload.card, 'V')[0])"),
        ("payload.card", "int(base64(payload.card))"),
        ("payload.card", "payload[lower(payload.card)]"),
        ("payload", "int(payload.card)"),
        ("payload", "payload.n > payload.card"),
        ("headers.card", "timestamp(upper(headers.card))"),
    ],
)
def test_an_error_quotes_nothing_that_is_made_of_a_removed_value(tmp_path: Path, path: str, expression: str) -> None:
    """Neither in other letters, nor a part of it, nor where the whole body is kept out; the expression is still there."""
    loaded = load(tmp_path, "redis://localhost", {"args": [f"${expression}"]})
    made = Batch([event(b'{"card": "SeCrEtVaLuE", "n": 1}', {"card": "SeCrEtVaLuE"})])
    router.make(loaded.sources["s"], compile_routes(loaded)[0]["s"]).route(made)
    ((_, letter),) = made.dead_letters
    masked = Redaction([path], {"s": [Reader("json")]}).letter(letter).detail
    assert not any(part in masked.lower() for part in ("secret", "value", base64.b64encode(b"SeCrEt").decode().lower()))
    assert masked.startswith("args.0: ")
    assert f"`{expression}`" in masked


def test_an_error_keeps_the_names_of_the_file_and_our_own_words() -> None:
    """A removed value may be a word of the sentence: it is masked where it is quoted, and so shows nowhere else."""
    detail = "args.0: can't be: no field 'unit' in `payload.unit`"
    letter = DeadLetter(event(b'{"card": ["be", "no", 0]}'), "missing-field", detail)
    assert Redaction(["payload.card"], {"s": [Reader("json")]}).letter(letter).detail == detail


@pytest.mark.parametrize("value", ["{n:03}", "aaaaaaaa{n}", "a" * 250 + "{n}"])
def test_removed_values_cost_little(value: str) -> None:
    """A thousand of them, each with the beginning of the text that the error quotes, cost a part of the CPU that a body may."""
    made = event(msgspec.json.encode({"card": [value.format(n=n) for n in range(1000)]}))
    letter = DeadLetter(made, "wrong-type", f"args.0: '{'a' * 79}' is not a number")
    begin = time.process_time()
    for _ in range(10):
        Redaction(["payload.card"], {"s": [Reader("json")]}).letter(letter)
    assert time.process_time() - begin < 0.25


async def test_no_secret_reaches_redis(tmp_path: Path, redis_server: Redis) -> None:
    """Neither in the body, nor the headers, nor the error; the letter names the fields. The message of another route has it."""
    loaded = load(tmp_path, redis_server.url, {"args": ["$int(payload.card)"]})
    table = compile_routes(loaded)[0]["s"]
    made = Batch([event(msgspec.json.encode({"card": CARD, "n": 1}), {"Authorization": "Bearer s3cret"})])
    router.make(loaded.sources["s"], table).route(made)
    ((_, letter),) = made.dead_letters
    assert CARD in letter.detail
    sink = RedisSink(
        loaded.dramatiq,
        loaded.dead_letters,
        Redaction(["payload.card", "headers.authorization"], {"s": [Reader("json")]}),
    )
    await sink.write(made)
    await sink.close()
    with redis_server.client() as client:
        (fields,) = dead_letters(client)
    whole = b"\n".join(fields.values())
    assert b"4111" not in whole
    assert b"s3cret" not in whole
    assert base64.b64encode(CARD.encode()) not in whole
    assert fields[b"redacted"] == b'["payload.card","headers.Authorization"]'
    assert (fields[b"body"], fields[b"body_cut"]) == (b'{"n":1}', b"0")
    # The log takes the same text.
    assert CARD not in made.dead_letters[0][1].detail


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("topic", "a topic is never redacted; a route is found by it"),
        ("card", "takes the path of a field; as in payload.card, payload.items.card, headers.authorization"),
        ("payload.", "takes the path of a field"),
        ("payload.items[0].card", "takes names with points between them"),
    ],
)
def test_mistakes_in_paths(mistakes: Any, path: str, says: str) -> None:
    """Each at its place."""
    text = f"sources: {{s: {{type: mqtt, url: mqtt://h}}}}\ndead_letters: {{redact: [payload.ok, '{path}']}}\n"
    said = mistakes(text)
    assert "dead_letters.redact[1]" in said
    assert says in said
