"""Sources whose bodies may be compressed, and bodies that are so though nobody has said it."""

from __future__ import annotations

import base64
import gzip
import json
import random
import zlib
from typing import Any

import pytest

from bridge.routing import content_encoding
from tests.routing.bodies.test_content_encoding import BODY, GZIP, raw_deflate
from tests.support.bodies import body_of, refusal, repaired

BOM = b"\xef\xbb\xbf"
LATIN = "iso-8859-1"
NAMED = ["gzip", "deflate", "zstd"]
TEXT = '{"a": "grün"}'.encode()


def zstd(body: bytes) -> bytes:
    """Return a body as one frame of zstd."""
    module = content_encoding.zstd_module()
    assert module is not None
    frame: bytes = module.compress(body)
    return frame


@pytest.mark.parametrize("encoding", NAMED)
@pytest.mark.parametrize(
    ("kind", "body", "payload", "counts"),
    [
        ("json-or-text", b"on", "on", {}),
        ("json-or-text", b'{"t":NaN}', {"t": None}, {"lenient": 1}),
        ("json-or-text", b"NaN", None, {"lenient": 1}),
        ("json-or-text", BOM + b'{"a": 1}', {"a": 1}, {"bom": 1}),
        ("json-or-text", b"gr\xfcn", "grün", {"charset": 1}),
        ("json-or-text", b'{"t":1,}', '{"t":1,}', {}),
        ("json-or-text", b"x^2 ", "x^2 ", {}),
        ("json", b'{"a": "gr\xfcn"}\x00', {"a": "grün"}, {"charset": 1, "bom": 1}),
        ("text", b"closed\x00", "closed", {"bom": 1}),
        ("text", b"x^2 = \xbd", "x^2 = ½", {"charset": 1}),
        ("text", b"x^2 ", "x^2 ", {}),
        ("ndjson", b"nan\n1", [None, 1], {"lenient": 1}),
        ("form", b"a=gr\xfcn", {"a": "grün"}, {"charset": 1}),
    ],
)
def test_a_body_that_is_not_compressed_is_repaired(
    encoding: str, kind: str, body: bytes, payload: object, counts: dict[str, int]
) -> None:
    """A source names what its bodies may be: one without that signature is repaired as any other."""
    if encoding == "deflate" and body == b"x^2 = \xbd":
        return  # not UTF-8, and it begins as zlib does: refused below
    assert repaired(kind, body, encoding=encoding, charset=LATIN, lenient=True) == (payload, counts)


@pytest.mark.parametrize("encoding", NAMED)
@pytest.mark.parametrize(
    ("kind", "body"),
    [("json", b"{bad"), ("ndjson", b"{oops}"), ("form", b"a"), ("text", b"\xff"), ("json", b"\xff"), ("json", b"")],
)
def test_the_error_is_that_of_the_format(encoding: str, kind: str, body: bytes) -> None:
    """A mistake in a body that is not compressed is told in the same words as at any other source."""
    assert refusal(kind, body, encoding=encoding).detail == refusal(kind, body).detail


@pytest.mark.parametrize("encoding", NAMED)
@pytest.mark.parametrize("body", [b"on", b"\xff\x00", b"\x1f\x8b", raw_deflate(BODY), b"\x03\x00"], ids=repr)
def test_bytes_that_are_not_compressed_stay_what_they_are(encoding: str, body: bytes) -> None:
    """Nothing tells raw deflate from other bytes, so it stays too: two bytes, 03 00, are a whole body of it."""
    assert repaired("bytes", body, encoding=encoding) == (base64.b64encode(body).decode(), {})


@pytest.mark.parametrize("kind", ["json", "text", "json-or-text", "bytes", "ndjson", "form", "msgpack", "cbor"])
@pytest.mark.parametrize(
    ("body", "encoding"), [(GZIP[:-1], "gzip"), (zlib.compress(TEXT)[:-1], "deflate"), (zstd(TEXT)[:-1], "zstd")]
)
def test_a_broken_body_with_the_signature_is_refused(kind: str, body: bytes, encoding: str) -> None:
    """It is compressed, so no charset may make a text of it."""
    for charset in ("auto", LATIN):
        refused = refusal(kind, body, encoding=encoding, charset=charset)
        assert refused.reason == "decode"
        assert refused.detail.startswith((f"{encoding}: ", f"not {encoding}: ")), refused.detail


def test_raw_deflate_where_the_source_names_it() -> None:
    """A body that is not UTF-8 may be raw deflate: if it is not, or nothing is in it, the other repairs go on."""
    for kind, payload in (("json", {"a": 1}), ("text", BODY.decode()), ("ndjson", [{"a": 1}])):
        assert repaired(kind, raw_deflate(BODY), encoding="deflate") == (payload, {"compressed": 1})
    hidden = raw_deflate(b"{bad and much more of it")
    assert "inside" not in refusal("json", hidden, encoding="deflate").detail
    bomb = raw_deflate(bytes(1 << 20))
    assert refusal("json", bomb, encoding="deflate").reason == "too-large"


@pytest.mark.parametrize("kind", ["json", "text", "json-or-text", "ndjson", "form", "msgpack", "cbor"])
@pytest.mark.parametrize("charset", ["auto", LATIN, "iso-8859-15", "windows-1252", "utf-16"])
@pytest.mark.parametrize("form", NAMED)
def test_what_nobody_has_declared_is_no_text(kind: str, charset: str, form: str) -> None:
    """A charset reads every byte: compressed bodies are told by their signature, and the dead letter has the key."""
    body = {"gzip": gzip.compress(TEXT), "deflate": zlib.compress(TEXT), "zstd": zstd(TEXT)}[form]
    for lenient in (False, True):
        refused = refusal(kind, body, charset=charset, lenient=lenient)
        assert refused.detail == f"the body begins as {form} does: set content_encoding: {form}"
    declared = body_of(body, content_type="text/plain; charset=iso-8859-1")
    assert "set content_encoding" in refusal(kind, declared).detail
    other = "zstd" if form == "gzip" else "gzip"
    assert f"set content_encoding: {form}" in refusal(kind, body, charset=charset, encoding=other).detail


@pytest.mark.parametrize("level", [1, 5, 6, 9])
@pytest.mark.parametrize("charset", [LATIN, "iso-8859-15", "windows-1252"])
def test_an_undeclared_body_of_zlib_that_is_cut_is_no_text(level: int, charset: str) -> None:
    """Nor is one that is damaged: a text that begins so has no control characters."""
    whole = zlib.compress(TEXT * 20, level)
    assert whole[:2] in {b"x\x01", b"x\x5e", b"x\x9c", b"x\xda"}
    for body in (whole[:-1], whole[:40], whole[:-4] + b"\0\0\0\1"):
        for kind in ("text", "json-or-text", "json"):
            refused = refusal(kind, body, charset=charset)
            assert refused.detail == "the body begins as deflate does: set content_encoding: deflate"


@pytest.mark.parametrize("settings", [{}, {"encoding": "gzip"}])
def test_only_one_layer_is_read(settings: dict[str, Any]) -> None:
    """What is compressed twice is no text either, and no key helps."""
    event = body_of(gzip.compress(GZIP), content_encoding="gzip")
    refused = refusal("json-or-text", event, charset=LATIN, **settings)
    assert refused.detail == "the body begins as gzip does (inside gzip)"


def test_an_undeclared_signature_where_the_author_excludes_it() -> None:
    """`none` says that no body is compressed; `bytes` keeps a body that declares nothing."""
    assert repaired("text", GZIP, charset=LATIN, encoding="none") == (
        GZIP.decode(LATIN).rstrip("\0"),
        {"charset": 1, "bom": 1},
    )
    assert repaired("bytes", GZIP) == (base64.b64encode(GZIP).decode(), {})
    assert repaired("text", b"x^2 = \xbd", charset=LATIN) == ("x^2 = ½", {"charset": 1})


@pytest.mark.parametrize("settings", [{}, {"encoding": "gzip"}])
def test_a_compressed_body_has_no_lines(settings: dict[str, Any]) -> None:
    """The limit of 10,000 lines is that of what is inside: a compressed body has a line feed in every 256 bytes."""
    value = base64.b64encode(random.Random(1).randbytes(3 << 20)).decode()
    body = gzip.compress(json.dumps(value).encode(), 1)
    assert body.count(b"\n") > 10_000
    payload, counts = repaired("ndjson", body_of(body, content_encoding="gzip"), max_bytes=1 << 24, **settings)
    assert (payload == [value], counts) == (True, {"compressed": 1})
    assert refusal("ndjson", b"1\n" * 10_001).detail == "not JSON by lines: more than 10000 lines"
