"""Compressed bodies: every form that publishers send, and every one that is meant to hurt."""

from __future__ import annotations

import base64
import gzip
import itertools
import time
import zlib

import pytest

from bridge.routing import content_encoding
from tests.support.bodies import body_of, refusal, repaired

BODY = b'{"a": 1}'


def raw_deflate(body: bytes) -> bytes:
    """Return a body as some publishers understand `deflate`: without zlib's header."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(body) + compressor.flush()


def bomb(wbits: int) -> bytes:
    """Return 256 MiB of zeros: one MiB behind a flush is the same each time, so the bomb is made at once."""
    compressor = zlib.compressobj(9, wbits=wbits)
    zeros = bytes(1 << 20)
    first, again = (compressor.compress(zeros) + compressor.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + again * 255 + compressor.flush()


FORMS = {
    "gzip": (gzip.compress(BODY), "gzip"),
    "gzip in two members": (gzip.compress(BODY[:4]) + gzip.compress(BODY[4:]), "gzip"),
    "x-gzip": (gzip.compress(BODY), "x-gzip"),
    "GZip": (gzip.compress(BODY), " GZip "),
    "zlib": (zlib.compress(BODY), "deflate"),
    "zlib at level 1": (zlib.compress(BODY, 1), "deflate"),
    "raw deflate": (raw_deflate(BODY), "deflate"),
    "kombu's zlib": (zlib.compress(BODY), "application/x-gzip"),
}


@pytest.mark.parametrize("where", ["property", "header", "Header", "kombu", "source"])
@pytest.mark.parametrize("form", FORMS)
def test_compressed_bodies(form: str, where: str) -> None:
    """The encoding is declared by the property, a header of any case, kombu's header; or the source names it."""
    body, name = FORMS[form]
    event = {
        "property": body_of(body, content_encoding=name),
        "header": body_of(body, {"content-encoding": name}, content_encoding="utf-8"),
        "Header": body_of(body, {"Content-Encoding": name}),
        "kombu": body_of(body, {"compression": name if "/" in name else "application/x-gzip"}),
        "source": body_of(body, content_encoding="identity"),
    }[where]
    if where == "kombu" and form == "raw deflate":
        return
    settings = {"encoding": "deflate" if "lib" in form or "raw" in form else "gzip"} if where == "source" else {}
    for kind, payload in (
        ("json", {"a": 1}),
        ("json-or-text", {"a": 1}),
        ("text", BODY.decode()),
        ("ndjson", [{"a": 1}]),
    ):
        assert repaired(kind, event, **settings) == (payload, {"compressed": 1})
    if where == "source" and form == "raw deflate":
        return  # nothing tells it from other bytes
    assert repaired("bytes", event, **settings) == (base64.b64encode(BODY).decode(), {"compressed": 1})


@pytest.mark.parametrize("kind", ["text", "json-or-text"])
def test_a_compressed_body_that_is_a_text_by_chance(kind: str) -> None:
    """The shortest bodies of zlib are valid UTF-8: they are looked at, and only where an encoding is declared."""
    body = zlib.compress(b"a", 1)
    assert body.decode().startswith("x\x01")
    assert repaired(kind, body_of(body, content_encoding="deflate")) == ("a", {"compressed": 1})
    assert repaired(kind, body) == (body.decode(), {})


@pytest.mark.parametrize("kind", ["json", "msgpack", "cbor", "bytes", "text"])
@pytest.mark.parametrize("name", ["", "none", "identity", "utf-8", "binary", "8bit", "ISO-8859-1"])
def test_names_that_mean_none(kind: str, name: str) -> None:
    """Celery writes the charset there."""
    assert repaired(kind, body_of(b"1", content_encoding=name))[1] == {}


@pytest.mark.parametrize("name", ["br", "gzip, deflate", "application/x-bz2", "\ud800"])
@pytest.mark.parametrize("kind", ["json", "bytes"])
def test_an_unknown_encoding_is_named(kind: str, name: str) -> None:
    """Nobody can read such a body; one that is good JSON all the same is read."""
    refused = refusal(kind, body_of(b"\xff", content_encoding=name))
    assert (refused.reason, refused.detail) == ("decode", f"no decoder for the content encoding {name!r}")
    assert repaired("json", body_of(b"1", content_encoding=name)) == (1, {})


def test_a_header_of_another_program() -> None:
    """Only kombu's own values of `compression` are known; another program may mean anything by that name."""
    assert repaired("bytes", body_of(b"\xff", {"compression": "high"})) == ("/w==", {})


GZIP = gzip.compress(BODY, mtime=0)


@pytest.mark.parametrize(
    ("body", "name", "words"),
    [
        *((GZIP[:cut], "gzip", "gzip") for cut in range(1, len(GZIP))),
        (GZIP + b"x", "gzip", "bytes behind its end"),
        (GZIP + b"\x00" * 8, "gzip", "bytes behind its end"),
        (GZIP + GZIP[:-1], "gzip", "breaks off"),
        (GZIP[:-8] + b"\x00" * 8, "gzip", "incorrect data check"),
        (zlib.compress(BODY) + b"x", "deflate", "bytes behind its end"),
        (zlib.compress(BODY)[:-1], "deflate", "breaks off"),
        (raw_deflate(BODY)[:-1], "deflate", "breaks off"),
        (raw_deflate(BODY) + b"x", "deflate", "bytes behind its end"),
        (BODY[:-1], "gzip", "not gzip"),
        (b"\xff" * 50, "deflate", "not deflate"),
        (gzip.compress(GZIP, mtime=0), "gzip", "(inside gzip)"),
        (gzip.compress(b"") * 101, "gzip", "more than 100 members"),
        (gzip.compress(b""), "gzip", "the body is empty"),
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_what_has_no_exact_end_is_refused(body: bytes, name: str, words: str) -> None:
    """Truncated, longer, damaged, nested: one layer, all of it."""
    refused = refusal("json", body_of(body, content_encoding=name))
    assert (refused.reason, words in refused.detail) == ("decode", True), refused.detail


@pytest.mark.parametrize("kind", ["json", "text", "bytes", "msgpack", "ndjson"])
@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_a_bomb_is_refused_at_max_body(kind: str, name: str) -> None:
    """256 MiB of zeros cost less than 10 ms: nothing beyond `max_body` is ever decompressed."""
    body = bomb(31 if name == "gzip" else 15)
    assert 200_000 < len(body) < 300_000
    before = time.thread_time()
    refused = refusal(kind, body_of(body, content_encoding=name))
    assert time.thread_time() - before < 0.1
    assert (refused.reason, refused.detail) == (
        "too-large",
        f"{name}: the body decompresses to more than max_body, 262144 bytes",
    )


def test_many_small_members_stay_within_max_body() -> None:
    """The bound is that of all members together, to the byte."""
    member = gzip.compress(b" " * 10)
    assert repaired("text", body_of(member * 10, content_encoding="gzip"), max_bytes=100)[0] == " " * 100
    assert refusal("text", body_of(member * 10, content_encoding="gzip"), max_bytes=99).reason == "too-large"


def test_none_leaves_the_body_alone() -> None:
    """`content_encoding: none` looks at no header: bytes come as they are."""
    event = body_of(GZIP, content_encoding="gzip")
    assert repaired("bytes", event, encoding="none") == (base64.b64encode(GZIP).decode(), {})
    assert "not JSON" in refusal("json", event, encoding="none").detail


def test_zstd_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dead letter names the package."""
    monkeypatch.setattr(content_encoding, "zstd_module", lambda: None)
    refused = refusal("json", body_of(b"\x28\xb5\x2f\xfd", content_encoding="zstd"))
    assert "dramatiq-bridge[zstd]" in refused.detail


def test_zstd() -> None:
    """One frame with a window of at most 8 MiB; a bomb, a rest and a cut are refused."""
    zstd = content_encoding.zstd_module()
    assert zstd is not None
    frame = zstd.compress(BODY)
    assert repaired("json", body_of(frame, content_encoding="zstd")) == ({"a": 1}, {"compressed": 1})
    for body in (frame[:-1], frame + b"x", b"x" + frame):
        assert refusal("json", body_of(body, content_encoding="zstd")).reason == "decode"
    wide = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 24}).compress(bytes(1 << 25))
    assert "zstd" in refusal("json", body_of(wide, content_encoding="zstd")).detail
    zeros = zstd.compress(bytes(1 << 26))
    before = time.thread_time()
    assert refusal("json", body_of(zeros, content_encoding="zstd")).reason == "too-large"
    assert time.thread_time() - before < 0.1
