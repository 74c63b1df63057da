"""Binary bodies at a source whose charset has a character for each byte: they become dead letters, and no texts."""

from __future__ import annotations

import random
import zlib

import cbor2
import msgspec
import pytest

from tests.routing.bodies.test_content_encoding import raw_deflate
from tests.support.bodies import body_of, refusal, repaired

CHARSETS = ["iso-8859-1", "iso-8859-15", "windows-1252"]
READING = {"id": 70_000, "celsius": 21.5, "place": "Zürich"}
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0"
BINARY = {
    "msgpack": msgspec.msgpack.encode(READING),
    "cbor": cbor2.dumps(READING),
    "protobuf": b"\x0a\x07Z\xc3\xbcrich\x11\x00\x00\x00\x00\x00\x80\x35\x40\xff",
    "png": PNG,
    "jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01",
    "raw deflate": raw_deflate(
        b'{"place": "Z\xfcrich", "celsius": 21.5, "id": 70000, "unit": "degree", "ok": true}' * 3
    ),
    "raw deflate that is cut": raw_deflate(random.Random(4).randbytes(200))[:-9],
    "doubles": b"\x00\x00\x00\x00\x00\x80\x35\x40\xff",
}


@pytest.mark.parametrize("charset", CHARSETS)
@pytest.mark.parametrize("kind", ["text", "json-or-text", "json", "form", "ndjson"])
@pytest.mark.parametrize("name", BINARY)
def test_a_binary_body_is_no_text(name: str, kind: str, charset: str) -> None:
    """It has bytes that no text has; the dead letter names the first one, and the keys that mend it."""
    declared = body_of(BINARY[name], content_type=f"text/plain; charset={charset}")
    for refused in (refusal(kind, BINARY[name], charset=charset), refusal(kind, declared)):
        assert refused.detail.startswith(f"not text in {charset}: byte 0x")
        assert refused.detail.endswith("decode: bytes takes a binary body, content_encoding a compressed one")


@pytest.mark.parametrize("charset", CHARSETS)
@pytest.mark.parametrize(
    "text",
    [
        "grün, 21 °C\t1\r\n\f",
        "\x02 12,5 kg ü\x03\r\n",
        "8=FIX.4.4\x019=12\x0158=Z\xfcrich\x01",
        "\x0bMSH|^~\\&|Universit\xe4t\r\x1c\r",
        "\x1b@M\xfcller\x1bE\x0e\x0f\x07",
        "x^2 = \xfc",
        "x\xda\xfc",
        "a\x1db\x1ec\x1fd\xfc\x1a",
        "gr\xfcn\0\0\r\n",
    ],
)
def test_a_text_stays_a_text(text: str, charset: str) -> None:
    """Also of protocols that part their fields, or their lines, by control characters."""
    body = text.encode("iso-8859-1")
    payload, counts = repaired("text", body, charset=charset)
    assert payload == text.removesuffix("\0\0\r\n")
    assert counts["charset"] == 1


def test_the_author_may_know_better() -> None:
    """`content_encoding: none` says that it is a text all the same, whatever it is."""
    body = zlib.compress(b"text")[:-1] + b"\x10"
    assert repaired("text", body, charset="iso-8859-1", encoding="none") == (body.decode("iso-8859-1"), {"charset": 1})
    assert repaired("text", b"\0\x10\x7f") == ("\0\x10\x7f", {})
