"""Decoding: the bodies that each format accepts; no payload would damage a Dramatiq worker."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import BadEvent
from bridge.model.event import Event
from bridge.routing.decoding import decoder
from bridge.routing.json_types import to_json_types
from tests.support.decoding import decode, large, refused


@pytest.mark.parametrize(
    ("kind", "body", "payload"),
    [
        ("json", b'{"a": [1, 2.5, "x", null, true]}', {"a": [1, 2.5, "x", None, True]}),
        ("json", b" 1 ", 1),
        ("json", b'"\\ud83d\\ude00"', "😀"),
        ("json", b'{"a": 1, "a": 2}', {"a": 2}),
        ("json", b"18446744073709551616", 2**64),
        ("json", b"[" * 64 + b"]" * 64, None),
        ("text", "grüße\n".encode(), "grüße\n"),
        ("text", b"", ""),
        ("text", b"\xef\xbb\xbfx", "\ufeffx"),
        ("bytes", b"\x00\xff", "AP8="),
        ("bytes", b"", ""),
        ("msgpack", msgspec.msgpack.encode({"a": [1, -(2**63), 2**64 - 1, "ü", None]}), None),
        ("msgpack", b"\x82\xa1a\x01\xa1a\x02", {"a": 2}),
        ("msgpack", b"\x81\x01\x02", {"1": 2}),
        ("msgpack", b"\xc4\x02\x00\xff", "AP8="),
        ("msgpack", b"\xd6\xff\x00\x00\x00\x00", "1970-01-01T00:00:00+00:00"),
        ("cbor", cbor2.dumps({"a": [1, 2.5, "ü", None, True]}), {"a": [1, 2.5, "ü", None, True]}),
        ("cbor", b"\xa2\x61a\x01\x61a\x02", {"a": 2}),
        ("cbor", cbor2.dumps(b"\x00\xff"), "AP8="),
        ("cbor", cbor2.dumps(datetime(2026, 1, 2, tzinfo=UTC)), "2026-01-02T00:00:00+00:00"),
        ("cbor", cbor2.dumps(Decimal("1.10")), "1.10"),
        ("cbor", b"\x9f\x01\xff", [1]),
        ("cbor", cbor2.dumps(10**4300 - 1), 10**4300 - 1),
        ("cbor", cbor2.dumps(-(10**4300) + 1), -(10**4300) + 1),
    ],
    ids=lambda value: repr(value)[:30] if not isinstance(value, int) else "int",
)
def test_accepted(kind: str, body: bytes, payload: object) -> None:
    """Each format is decoded to JSON's own types; of duplicate keys the last wins."""
    decoded = decode(kind, body)
    if payload is not None:
        assert decoded == payload
        assert type(decoded) is type(payload)
    assert json.loads(msgspec.json.encode(decoded)) == decoded


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("json", b""),
        ("json", b"\xef\xbb\xbf{}"),
        ("json", b"\xff\xfe{\x00}\x00"),
        ("json", b'"\xff"'),
        ("json", b'{"\xff": 1}'),
        ("json", b'{"a": {"b": ["\xc3"]}}'),
        ("json", b'"\xed\xa0\x80"'),
        ("json", b'"\\ud800"'),
        ("json", b'"\\udc00"'),
        ("json", b'{"\\ud800": 1}'),
        ("json", b'"\\udc00\\ud800"'),
        ("json", b"NaN"),
        ("json", b"[Infinity]"),
        ("json", b"-Infinity"),
        ("json", b"1e999"),
        ("json", b'{"deep": [[-1e999]]}'),
        ("json", b"{} {}"),
        ("json", b"1,"),
        ("json", b"{}\x00"),
        ("json", b"{'a': 1}"),
        ("json", b'"a\nb"'),
        ("json", b"01"),
        ("text", b"a\xff"),
        ("text", b"\xed\xa0\x80"),
        ("msgpack", b""),
        ("msgpack", b"\x01\x01"),
        ("msgpack", b"\x81\xa1a\x01\xc0"),
        ("msgpack", b"\xa1\xff"),
        ("msgpack", b"\x81\xa1\xff\x01"),
        ("msgpack", b"\xa3\xed\xa0\x80"),
        ("msgpack", b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00"),
        ("msgpack", b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"),
        ("msgpack", b"\xdd\x7f\xff\xff\xff"),
        ("msgpack", b"\xdf\x7f\xff\xff\xff"),
        ("msgpack", b"\xc6\x7f\xff\xff\xff"),
        ("msgpack", b"\xc1"),
        ("msgpack", b"\x81\xc4\x01a\x01"),
        ("msgpack", b"\x81\xc0\x01"),
        ("msgpack", b"\x81\xc3\x01"),
        ("msgpack", b"\x81\x91\x01\x01"),
        ("msgpack", b"\xd4\x05\x01"),
        ("cbor", b""),
        ("cbor", b"\x01\x01"),
        ("cbor", b"\xa1\x61a\x01\xf6"),
        ("cbor", b"\x61\xff"),
        ("cbor", b"\x63\xed\xa0\x80"),
        ("cbor", b"\xf9\x7e\x00"),
        ("cbor", b"\xf9\x7c\x00"),
        ("cbor", b"\xf7"),
        ("cbor", b"\xa1\x41a\x01"),
        ("cbor", b"\xa1\x80\x01"),
        ("cbor", b"\x9b\x00\x00\x00\x7f\xff\xff\xff\xff"),
        ("cbor", b"\x5b\x00\x00\x00\x7f\xff\xff\xff\xff"),
        ("cbor", b"\xd9\x01\x02\x81\x01"),
        ("cbor", b"\xc1\xfb\x7e\x37\xe4\x3c\x88\x00\x75\x9c"),
        ("cbor", b"\xc5\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x01"),
        ("cbor", b"\xd8\x1e\x82\x01\x00"),
        ("cbor", b"\xd8\x23\x63((("),
        ("cbor", b"\xd8\x1c\x81\xd8\x1d\x00"),
        ("cbor", b"\xd9\x01\x00\x82\x63abc\xd8\x19\x00"),
        ("cbor", cbor2.dumps(10**4300)),
        ("cbor", cbor2.dumps(-(10**4300))),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_refused(kind: str, body: bytes) -> None:
    """A body that breaks its format anywhere becomes a dead letter that names the format."""
    detail = refused(kind, body)
    assert detail.startswith({"json": "not JSON", "msgpack": "not msgpack", "cbor": "not CBOR"}.get(kind, "not UTF-8"))


NESTED: dict[str, Callable[[int, bool], bytes]] = {
    "json": lambda depth, empty: b"[" * depth + (b"" if empty else b"1") + b"]" * depth,
    "msgpack": lambda depth, empty: b"\x91" * (depth - 1) + (b"\x90" if empty else b"\x91\x01"),
    "cbor": lambda depth, empty: b"\x81" * (depth - 1) + (b"\x80" if empty else b"\x81\x01"),
}
MAPS: dict[str, Callable[[int], bytes]] = {
    "json": lambda depth: b'{"a":' * depth + b"1" + b"}" * depth,
    "msgpack": lambda depth: b"\x81\xa1a" * depth + b"\x01",
    "cbor": lambda depth: b"\xa1\x61a" * depth + b"\x01",
}


@pytest.mark.parametrize("empty", [True, False], ids=["empty", "full"])
@pytest.mark.parametrize("kind", ["json", "msgpack", "cbor"])
def test_nesting_is_bounded(kind: str, empty: bool) -> None:
    """64 levels of lists or mappings pass, 65 do not."""
    body = NESTED[kind]
    assert json.loads(msgspec.json.encode(decode(kind, body(64, empty)))) == decode(kind, body(64, empty))
    assert "64" in refused(kind, body(65, empty))
    decode(kind, MAPS[kind](64))
    assert "64" in refused(kind, MAPS[kind](65))


@pytest.mark.parametrize("kind", ["json", "msgpack", "cbor"])
def test_a_bomb_of_brackets_is_one_dead_letter(kind: str) -> None:
    """100,000 nested lists or mappings are refused, and the process survives."""
    refused(kind, NESTED[kind](100_000, False))
    refused(kind, NESTED[kind](100_000, True)[:100_000])
    refused(kind, MAPS[kind](100_000))


def test_many_brackets_side_by_side_are_not_deep() -> None:
    """A long list of small objects and brackets in text pass: neither nests deeply."""
    assert len(decode("json", b"[" + b",".join([b'{"a":[[]]}'] * 1000) + b"]")) == 1000
    assert decode("json", b'"' + b"[{" * 500 + b'"') == "[{" * 500


def test_integers_have_as_many_digits_as_a_worker_reads() -> None:
    """4,300 digits pass unchanged; 4,301 would end a worker's consumer and are refused; in JSON a minus counts as a digit."""
    for digits in (b"9" * 4300, b"-" + b"9" * 4299):
        assert json.loads(msgspec.json.encode(decode("json", digits))) == int(digits)
        refused("json", digits + b"99")
        refused("json", b'{"a": [' + digits + b"99]}")
    refused("json", b"9" * 4301)


def test_shared_parts_of_cbor_cannot_multiply() -> None:
    """A few hundred bytes of nested references are refused, not expanded."""
    body = b"\x98\x29\xd8\x1c\x82\x01\x01"
    for number in range(40):
        reference = b"\xd8\x1d" + (bytes([number]) if number < 24 else b"\x18" + bytes([number]))
        body += b"\xd8\x1c\x82" + reference + reference
    assert len(body) < 500
    refused("cbor", body)


@pytest.mark.parametrize(
    ("declared", "body", "payload"),
    [
        (None, b"1", 1),
        ("", b"1", 1),
        ("application/json", b"1", 1),
        ("Application/JSON; charset=utf-8", b"1", 1),
        ("application/vnd.acme+json", b"[1]", [1]),
        ("text/plain; charset=utf-8", b"hi", "hi"),
        ("text/csv", b"a,b", "a,b"),
        ("application/octet-stream", b"\xff", "/w=="),
        ("application/msgpack", b"\x91\x01", [1]),
        ("application/x-msgpack", b"\x91\x01", [1]),
        ("application/vnd.msgpack", b"\x91\x01", [1]),
        ("application/cbor", b"\x81\x01", [1]),
        ("application/senml+cbor", b"\x81\x01", [1]),
    ],
)
def test_auto_follows_the_content_type(declared: str | None, body: bytes, payload: object) -> None:
    """`decode: auto` decodes by the event's content type, and as JSON if it has none."""
    assert decode("auto", body, content_type=declared) == payload


def test_auto_refuses_what_it_cannot_decode() -> None:
    """An unknown content type makes a dead letter that names it; a known one is decoded strictly."""
    assert refused("auto", b"x", content_type="image/png") == "no decoder for the content type 'image/png'"
    assert "trailing" in refused("auto", b"\x01\x01", content_type="application/cbor")
    assert "not UTF-8" in refused("auto", b"\xff", content_type="text/plain")
    assert len(refused("auto", b"x", content_type="image/" + "x" * 10_000)) < 200


@given(kind=st.sampled_from(["json", "text", "bytes", "msgpack", "cbor"]), body=st.binary(max_size=200))
@settings(max_examples=500)
def test_noise_is_a_value_or_a_dead_letter(kind: str, body: bytes) -> None:
    """Any bytes end in a value that Python's JSON can load again, or in BadEvent."""
    for sent in (body, large(kind, body)) if kind in ("msgpack", "cbor") else (body,):
        try:
            payload = decode(kind, sent)
        except BadEvent:
            continue
        assert json.loads(msgspec.json.encode(payload)) == payload


LEAVES = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=True) | st.text() | st.binary()
VALUES = st.recursive(
    LEAVES,
    lambda child: st.lists(child) | st.dictionaries(st.text() | st.integers(-(2**63), 2**64 - 1), child),
    max_leaves=15,
)


@given(value=VALUES, packed=st.sampled_from(["msgpack", "cbor"]))
@settings(max_examples=300)
def test_every_payload_can_be_written_as_json(value: Any, packed: str) -> None:
    """A Dramatiq worker that loads a decoded payload from JSON gets the same payload."""
    try:
        body = cbor2.dumps(value) if packed == "cbor" else msgspec.msgpack.encode(value)
    except OverflowError:
        return  # msgpack's integers have 64 bits
    try:
        payload = decode(packed, body)
    except BadEvent as error:
        assert "nan" in error.detail or "inf" in error.detail  # noqa: PT017 - the payload is asserted below
        return
    assert json.loads(msgspec.json.encode(payload)) == payload
    assert decode("json", msgspec.json.encode(payload)) == payload
    assert decode(packed, large(packed, body))[1] == payload


def test_headers_of_any_type_become_json_types() -> None:
    """Values of AMQP tables become JSON's types."""
    assert to_json_types({"a": [1, b"x", Decimal("0.5")]}) == {"a": [1, "eA==", "0.5"]}
    for value, words in [
        (object(), "JSON has no value for it"),
        ({None: 1}, "a key is neither text"),
        ([math.nan], "nan"),
    ]:
        with pytest.raises(ValueError, match=words):
            to_json_types(value)


@pytest.mark.parametrize("body", [b"", b" \r\n"], ids=repr)
@pytest.mark.parametrize(("kind", "format_"), [("json", "JSON"), ("msgpack", "msgpack"), ("cbor", "CBOR")])
def test_an_empty_body_is_called_empty(kind: str, format_: str, body: bytes) -> None:
    """Not "truncated": whoever reads the dead letter looks for the publisher."""
    if kind != "json" and body:
        return  # white space is a value there
    with pytest.raises(BadEvent) as caught:
        decoder(kind)(Event("s", "t", body, 0))
    assert caught.value.detail == f"not {format_}: the body is empty"


@pytest.mark.parametrize(
    ("body", "is_hinted"),
    [
        (b"21.5 C", False),
        (b"hello", True),
        ("größe".encode(), True),
        (b"<n>1</n>", True),
        (b" OPEN", True),
        (b"{oops", False),
        (b"nulll", False),
        (b"\xff\xfe", False),
        (b"\x00\x01", False),
    ],
    ids=repr,
)
def test_text_where_json_was_expected_has_a_hint(body: bytes, is_hinted: bool) -> None:
    """Only where it does not look like JSON with a mistake in it, nor like binary."""
    with pytest.raises(BadEvent) as caught:
        decoder("json")(Event("s", "t", body, 0))
    assert caught.value.detail.endswith("; for plain text, set decode: text") == is_hinted
