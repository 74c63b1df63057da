"""Forms and JSON by lines, and the content types of all kinds."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bridge.routing.decoding import ENCODERS
from tests.support.bodies import body_of, refusal, repaired


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        (b"a=1&b=two+words&c=%C3%BC", {"a": "1", "b": "two words", "c": "ü"}),
        (b"a=1&a=2&a=3&b=", {"a": ["1", "2", "3"], "b": ""}),
        (b"a=b=c", {"a": "b=c"}),
        (b"&a=1&&", {"a": "1"}),
        (b"=1", {"": "1"}),
        (b"a%3Db=%26%zz", {"a=b": "&%zz"}),
        (b"a=" + b"1" * 100, {"a": "1" * 100}),
        (b"a=1&b=2\r\n", {"a": "1", "b": "2"}),
        (b"a=1&b=2\n", {"a": "1", "b": "2"}),
        (b"a=1%0D%0A&b=2%0A", {"a": "1\r\n", "b": "2\n"}),
        (b"a=1\n\n", {"a": "1\n"}),
        (rb"a=\x41\u0041\\&\n=\N{DOT}", {"a": r"\x41\u0041\\", r"\n": r"\N{DOT}"}),
        (b"a=%zz%%%41%&b=%5Cx41%5c+%2B", {"a": "%zz%%A%", "b": "\\x41\\ +"}),
        (b"a==%3D=&b=%EF%BF%BE%EF%BF%BF", {"a": "===", "b": "\ufffe\uffff"}),
    ],
)
def test_a_form(body: bytes, payload: dict[str, Any]) -> None:
    """Fields are text; of a name that stands more than once, a list. One line end behind the form is none of it."""
    assert repaired("form", body) == (payload, {})
    if b"%zz" not in body:
        assert repaired("form", ENCODERS["form"](payload)) == (payload, {})


def test_a_form_in_another_charset() -> None:
    """Its escapes are bytes of that charset, as the bytes that are none."""
    body = b"n%FC=%80%FC%26%3D\xfc&n\xfc=%5cx80&a=b"
    payload = {"nü": ["€ü&=ü", "\\x80"], "a": "b"}
    assert repaired("form", body, charset="windows-1252") == (payload, {"charset": 1})
    assert repaired("form", b"a=%FC&b=%C3%BC", charset="iso-8859-1") == ({"a": "ü", "b": "Ã¼"}, {"charset": 1})
    assert refusal("form", b"a=%FC&b=%81", charset="windows-1252").detail.startswith("not a form: ")


@pytest.mark.parametrize(
    "body", [b'{"a": 1}', b"a", b"a=1&b", b"a=%C3&b=%BC", b"a=%ff", b"a=%ED%A0%80", b"\xff=1", b"a=\x001", b"&&"]
)
def test_no_form(body: bytes) -> None:
    """A body of another kind is refused, and not taken for one odd field."""
    assert refusal("form", body).detail.startswith("not a form: ")


def test_json_by_lines() -> None:
    """A list of the lines' values, without the empty lines; the last line may end or not."""
    assert repaired("ndjson", b'{"a": 1}\r\n\n[2]\n"x"') == ([{"a": 1}, [2], "x"], {})
    assert repaired("ndjson", ENCODERS["ndjson"]([1, "a", None])) == ([1, "a", None], {})
    assert len(repaired("ndjson", b"1\n" * 10_000)[0]) == 10_000  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"1\n2\nx", "line 3: "),
        (b"1 2\n", "line 1: "),
        (b"[1\n,2]", "line 1: "),
        (b"1\n" * 100_000, "more than 10000 lines"),
        (b"\n" * 100_000 + b"1", "more than 10000 lines"),
        (b"\n\n", "the body is empty"),
        (b"1\n" + b"[" * 64 + b"]" * 64, "nested more than 64 deep"),
    ],
    ids=range(7),
)
def test_no_json_by_lines(body: bytes, words: str) -> None:
    """The error names the line; 10,000 of them are enough."""
    assert words in refusal("ndjson", body).detail


@pytest.mark.parametrize(
    ("kind", "body", "lenient"),
    [
        ("form", b"a=1&" * 100_000, False),
        ("form", b"%41=%41&" * 9_000 + b"a", False),
        ("form", b"=" + b"%41" * 85_000, False),
        ("form", b"a&" * 9_000, False),
        ("ndjson", b"1\n" * 100_000, True),
        ("ndjson", b"\n" * 262_144, True),
        ("ndjson", b"NaN\n" * 10_000, True),
        ("json", b"[" + b"NaN," * 65_000 + b"NaN]", True),
        ("json", b"[" + b"1e999," * 43_000 + b"1]", True),
        ("json", b"[" + b"1," * 130_000 + b"NaN]", True),
        ("json", b"[" * 262_144, True),
        ("json", b'["' + b"\\u0041" * 43_000 + b'",NaN]', True),
        ("json", b"[" + b"1" * 262_000 + b"]", True),
        ("json", b"[" + (b"1" * 4_300 + b",") * 60 + b"NaN]", True),
        ("json", b"\x00" * 262_144, False),
        ("json", b"{}" + b"\x00 " * 131_000 + b"x", False),
        ("json-or-text", b"[" * 262_144, True),
        ("text", b"\xff\xfe" + b"\x00\xd8" * 131_000, False),
    ],
    ids=range(18),
)
def test_a_hostile_body_costs_little(kind: str, body: bytes, lenient: bool) -> None:
    """Any body of 256 KiB costs below 50 ms, also one that is repaired; ten times that is allowed here."""
    before = time.thread_time()
    try:
        repaired(kind, body_of(body, content_type="x; charset=utf-16" if kind == "text" else ""), lenient=lenient)
    except Exception as error:  # noqa: BLE001 - any refusal will do, and a wrong one fails in the next line
        assert type(error).__name__ == "BadEvent"  # noqa: PT017
    assert time.thread_time() - before < 0.5


@pytest.mark.parametrize(
    ("content_type", "body", "payload"),
    [
        ("text/json", b"1", 1),
        ("application/x-ndjson", b"1\n2", [1, 2]),
        ("application/x-www-form-urlencoded", b"a=1", {"a": "1"}),
        ("application/x-www-form-urlencoded; charset=utf-8", b"a=1", {"a": "1"}),
        ("application/vnd.masstransit+json", b"[1]", [1]),
        ("text/plain", b"1", "1"),
    ],
)
def test_auto(content_type: str, body: bytes, payload: object) -> None:
    """`decode: auto` goes by the content type."""
    assert repaired("auto", body_of(body, content_type=content_type)) == (payload, {})


@pytest.mark.parametrize("payload", ["on", "1", "true", '"x"', 1, None, {"a": [1]}, ""])
def test_json_or_text_is_written_as_it_is_read(payload: object) -> None:
    """A text that looks like JSON is written as JSON's text: so it stays one."""
    assert repaired("json-or-text", ENCODERS["json-or-text"](payload)) == (payload, {})
