"""`redact` removes fields from bodies of every kind, also from those that had to be repaired, and of routes with their own decode."""

from __future__ import annotations

import gzip
import json

import pytest

from bridge.model.event import Event
from bridge.routing.body_reader import Reader
from bridge.routing.redaction import RedactedEvent, Redaction
from bridge.routing.repair import Repairs
from tests.support.bodies import body_of

CARD = "4111-1111-1111-1111"
PLAIN = f'{{"card": "{CARD}", "n": 1}}'.encode()


def _redacted(event: Event, *readers: Reader, path: str = "payload.card") -> Event:
    return Redaction([path], {"s": readers}).event(event)


@pytest.mark.parametrize(
    ("kind", "body", "kept"),
    [
        ("form", f"n=1&card={CARD}".encode(), b"n=1"),
        ("ndjson", PLAIN + b"\n" + PLAIN, b'{"n":1}\n{"n":1}\n'),
        ("json-or-text", PLAIN, b'{"n":1}'),
        ("json-or-text", b"plain", b"plain"),
        ("json-or-text", b'{"card": "4111"', b""),
        ("form", f"card={CARD}".encode(), b""),
    ],
)
def test_each_kind_of_fields(kind: str, body: bytes, kept: bytes) -> None:
    """A body that would have no form any more is left out whole; so is a text that is nearly JSON."""
    assert _redacted(body_of(body), Reader(kind)).body == kept


@pytest.mark.parametrize("kind", ["json", "text", "json-or-text"])
@pytest.mark.parametrize(
    "event",
    [
        body_of(gzip.compress(PLAIN), content_encoding="gzip"),
        body_of(b"\xef\xbb\xbf" + PLAIN),
        body_of(PLAIN + b"\0"),
        body_of(PLAIN.replace(b'"n"', b'"\xfc"'), content_type="application/json; charset=iso-8859-1"),
    ],
    ids=["gzip", "mark", "nul", "charset"],
)
def test_a_repaired_body_loses_the_field(event: Event, kind: str) -> None:
    """The rest is kept, readable without the repair, and a retry reads it."""
    made = _redacted(event, Reader(kind))
    assert isinstance(made, RedactedEvent)
    assert made.redacted == ("payload.card",)
    assert json.loads(made.body) in ({"n": 1}, {"ü": 1})
    again = Reader(kind, Repairs()).read(made)
    assert (again.is_repaired, CARD in str(again.payload)) == (False, False)


def test_a_field_that_stands_twice_in_a_compressed_body() -> None:
    """Of two the last one counts; the first can't be seen in the compressed bytes, so the body is written anew."""
    body = gzip.compress(f'{{"a": {{"card": "{CARD}"}}, "a": 1}}'.encode())
    made = _redacted(body_of(body, content_encoding="gzip"), Reader("json"), path="payload.a.card")
    assert made.body == b'{"a":1}'


def test_a_body_is_safe_for_each_way_to_read_it() -> None:
    """Of a source whose routes read otherwise: a form that is no JSON is a form all the same."""
    form = _redacted(body_of(f"n=1&card={CARD}".encode()), Reader("json"), Reader("form"))
    assert form.body == b"n=1"
    plain = _redacted(body_of(PLAIN), Reader("json"), Reader("text"), Reader("form"))
    assert plain.body == b'{"n":1}'
    assert _redacted(body_of(b"\xff"), Reader("json"), Reader("text")).body == b""
    assert _redacted(body_of(b"\xff"), Reader("json"), Reader("bytes")).body == b"\xff"
