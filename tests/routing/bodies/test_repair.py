"""Bodies that publishers really send: with a byte order mark, a NUL, in another charset, with NaN, empty."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.routing.repair import DroppedBody
from tests.support.bodies import body_of, refusal, repaired

BOM = b"\xef\xbb\xbf"
LATIN: dict[str, Any] = {"content_type": "application/json; charset=ISO-8859-1"}


@pytest.mark.parametrize(
    ("kind", "body", "payload"),
    [
        ("json", BOM + b'{"a": 1}', {"a": 1}),
        ("json", b'{"a": 1}\x00', {"a": 1}),
        ("json", b'{"a": 1}\x00\r\n\x00 ', {"a": 1}),
        ("json", BOM + b"1\x00", 1),
        ("text", BOM + b"on", "on"),
        ("text", b"on\x00", "on"),
        ("text", b"on\x00\x00", "on"),
        ("json-or-text", BOM + b'{"a": 1}', {"a": 1}),
        ("json-or-text", b"on\x00", "on"),
        ("ndjson", BOM + b"1\n2\n\x00", [1, 2]),
        ("form", BOM + b"a=1", {"a": "1"}),
        ("form", b"a=1\x00", {"a": "1"}),
    ],
)
def test_a_byte_order_mark_and_nuls_are_removed(kind: str, body: bytes, payload: object) -> None:
    """A publisher in C sends the NUL of its text, one in C# the mark of UTF-8."""
    assert repaired(kind, body) == (payload, {"bom": 1})


@pytest.mark.parametrize(
    ("kind", "body"),
    [("json", BOM + BOM + b"1"), ("json", b"\x001"), ("json", b'{"a"\x00: 1}'), ("json", b"1 x\x00")],
)
def test_no_other_byte_is_removed(kind: str, body: bytes) -> None:
    """One mark before the body, NULs and white space behind it; nothing else."""
    assert refusal(kind, body).reason == "decode"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text", b" on\n"),
        ("text", b"xylophone"),
        ("text", b"x^"),
        ("json-or-text", b"xylophone"),
        ("bytes", b"\xff\x00"),
    ],
)
def test_a_good_body_is_left_as_it_is(kind: str, body: bytes) -> None:
    """White space of a text is a part of it; nothing is counted."""
    payload, counts = repaired(kind, body_of(body, {"content-encoding": "identity"}))
    assert payload == ("/wA=" if kind == "bytes" else body.decode())
    assert counts == {}


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        (b"300", 300),
        (b"on", "on"),
        (b"NaN", "NaN"),
        (b"007", "007"),
        (b"", ""),
        (b" ", " "),
        (b'{"a": 1,}', '{"a": 1,}'),
        ("grün".encode(), "grün"),
        (b'"on"', "on"),
        (b"1e999", "1e999"),
    ],
)
def test_json_or_text(body: bytes, payload: object) -> None:
    """JSON where it is JSON, or else the text: one connection brings both (Tasmota, Home Assistant, zigbee2mqtt)."""
    assert repaired("json-or-text", body) == (payload, {})


@pytest.mark.parametrize("body", [b"\xff", b"[" * 65 + b"]" * 65])
def test_json_or_text_has_limits(body: bytes) -> None:
    """A body that is neither, or JSON that nests too deeply, is a dead letter."""
    assert refusal("json-or-text", body).reason == "decode"


@pytest.mark.parametrize(
    ("kind", "body", "charset"),
    [
        ("json", '{"a": "grün"}'.encode("iso-8859-1"), "iso-8859-1"),
        ("json", '{"a": "5 €"}'.encode("iso-8859-15"), "iso-8859-15"),
        ("json", '{"a": "5 €"}'.encode("cp1252"), "windows-1252"),
        ("json", '{"a": "grün"}'.encode("utf-16"), "utf-16"),
        ("json", '{"a": "grün"}'.encode("utf-16-le"), "utf-16"),
        ("json", '{"a": "grün"}'.encode("utf-16-be"), "utf-16"),
        ("text", "grün".encode("iso-8859-1"), "iso-8859-1"),
        ("text", "on".encode("utf-16-le"), "utf-16"),
        ("text", "on".encode("utf-16-be"), "utf-16"),
        ("json-or-text", "grün".encode("cp1252"), "windows-1252"),
        ("ndjson", '{"a": "grün"}\n1'.encode("iso-8859-1"), "iso-8859-1"),
        ("form", b"a=gr%FCn", "iso-8859-1"),
        ("form", "a=grün".encode("iso-8859-1"), "iso-8859-1"),
    ],
)
@pytest.mark.parametrize("is_declared", [False, True])
def test_a_charset_that_is_set_or_declared(kind: str, body: bytes, charset: str, is_declared: bool) -> None:
    """The source's charset, or that of the content type, is used for a body that is not UTF-8."""
    if is_declared:
        payload, counts = repaired(kind, body_of(body, content_type=f'text/x; a=b; Charset="{charset.upper()}"'))
    else:
        payload, counts = repaired(kind, body, charset=charset)
    euro_or_u = json.dumps(payload, ensure_ascii=False)
    assert any(part in euro_or_u for part in ("grün", "5 €", "on"))
    assert counts == {"charset": 1}


@pytest.mark.parametrize(
    ("body", "meta", "settings", "words"),
    [
        (b'{"a": "\xff"}', {"content_type": "application/json; charset=koi8-r"}, {}, "no decoder for the charset 'koi8-r'"),
        (b'{"a": "\xff"}', {"content_type": "application/json; charset=idna"}, {}, "no decoder for the charset 'idna'"),
        (b'{"a": "\xff"}', {"content_type": "application/json; charset=us-ascii"}, {}, "not JSON"),
        (b'{"a": "\x81"}', {}, {"charset": "windows-1252"}, "not text in windows-1252"),
        (b"\xff\xfe{\x00}\x00", {}, {}, "set charset: utf-16"),
        (b"\xff\xfe{\x00}", {}, {"charset": "utf-16"}, "not text in utf-16"),
        (b"\xff\xfe\x00\xd8", {}, {"charset": "utf-16"}, "not text in utf-16"),
        (b'{"a": "\xff"}', {}, {}, "not JSON"),
    ],
)  # fmt: skip
def test_no_other_charset_is_reachable(body: bytes, meta: dict[str, Any], settings: dict[str, Any], words: str) -> None:
    """An odd byte, half a character, and a charset outside the list are refused in words."""
    refused = refusal("json", body_of(body, **meta), **settings)
    assert (refused.reason, words in refused.detail) == ("decode", True), refused.detail


def test_utf_8_comes_first() -> None:
    """A body in UTF-8 is read as that, whatever charset is declared: publishers declare much."""
    assert repaired("json", body_of('{"a": "grün"}'.encode(), **LATIN)) == ({"a": "grün"}, {})
    assert repaired("json", b'{"a": 1}\x00', charset="utf-16") == ({"a": 1}, {"bom": 1})


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        (b'{"a": NaN, "b": [Infinity, -Infinity, 1e999, -1e999]}', {"a": None, "b": [None, None, None, None]}),
        (b"NaN", None),
        # Tasmota with a broken sensor (arendst/Tasmota#4147), and glibc's printf.
        (b'{"DHT11":{"Temperature":nan,"Humidity":nan},"TempUnit":"C"}', {"DHT11": {"Temperature": None, "Humidity": None}, "TempUnit": "C"}),
        (b'{"nan":"nan","b":[-nan,inf,-inf],"c":"\\"nan"}', {"nan": "nan", "b": [None, None, None], "c": '"nan'}),
        (b'{"NaN": "NaN", "b": NaN}', {"NaN": "NaN", "b": None}),
        (b'{"a": "\\"NaN", "b": NaN, "c": 1.50, "d": 12345678901234567890123}',
         {"a": '"NaN', "b": None, "c": 1.5, "d": 12345678901234567890123}),
        (b"[" + b"1" * 4301 + b"]", [None]),
        (BOM + b'{"a": NaN}', {"a": None}),
    ],
)  # fmt: skip
def test_lenient_json(body: bytes, payload: object) -> None:
    """Numbers that JSON does not have become null, if `lenient` is set; without it they are refused."""
    made, counts = repaired("json", body, lenient=True)
    assert made == payload
    assert counts["lenient"] == 1
    assert refusal("json", body).reason == "decode"


@pytest.mark.parametrize(
    "body",
    [b"{'a': 1}", b'{"a": 1,}', b"[1] // x", b"nano", b"nan1", b"[nan nan]", b"-NaN", b"+1", b"01", b".5", b'{"a": NaN', b'["\\ud800", NaN]',
     b'["a\nb", NaN]', b"[" * 100_000 + b"NaN", b"[" * 65 + b"NaN" + b"]" * 65, b"NaN NaN"],
    ids=lambda body: repr(body)[:20],
)  # fmt: skip
def test_lenient_forgives_nothing_else(body: bytes) -> None:
    """No commas, quotes, comments, half characters or depths."""
    assert refusal("json", body, lenient=True).reason == "decode"


def test_lenient_lines_and_texts() -> None:
    """The lines of ndjson are lenient too; a text that is no number stays one."""
    assert repaired("ndjson", b"NaN\n\n1\n", lenient=True) == ([None, 1], {"lenient": 1})
    assert repaired("json-or-text", b"NaN", lenient=True) == (None, {"lenient": 1})
    assert repaired("json-or-text", b"on", lenient=True) == ("on", {})


@pytest.mark.parametrize("body", [b"[1,NaN]", b'{"paid":true}'])
def test_a_form_that_is_none_is_no_json(body: bytes) -> None:
    """`lenient` is about JSON: a source of forms makes no list or mapping of JSON's values."""
    assert refusal("form", body, lenient=True).detail == "not a form: a field without ="


@pytest.mark.parametrize("kind", ["json", "text", "json-or-text", "form", "ndjson", "bytes", "msgpack", "cbor", "auto"])
@pytest.mark.parametrize("body", [b"", BOM + b"\x00", BOM + b" \x00\r\n"], ids=["nothing", "mark", "white"])
def test_an_empty_body(kind: str, body: bytes) -> None:
    """Where `empty` is set, it decides for each kind; otherwise a text is "", and all else a dead letter."""
    if (body and kind in {"bytes", "msgpack", "cbor"}) or (b" " in body and kind in {"text", "json-or-text"}):
        return
    payload, counts = repaired(kind, body, empty="as-null")
    assert (payload, counts["empty"]) == (None, 1)
    with pytest.raises(DroppedBody):
        repaired(kind, body, empty="drop")
    assert "the body is empty" in refusal(kind, body, empty="dead-letter").detail
    if kind in {"text", "json-or-text", "bytes"}:
        assert repaired(kind, body)[0] == ""
    else:
        assert "the body is empty" in refusal(kind, body).detail


@pytest.mark.parametrize("kind", ["json", "ndjson", "form", "text", "json-or-text", "bytes"])
def test_white_space_is_a_body_only_where_it_is_the_payload(kind: str) -> None:
    """`empty` means a body of white space too, but not where a payload is the body itself."""
    payload = {"text": "  \n", "json-or-text": "  \n", "bytes": "ICAK"}.get(kind)
    assert repaired(kind, b"  \n", empty="as-null") == (payload, {} if payload else {"empty": 1})
