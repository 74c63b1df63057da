"""The check of large bodies of msgpack and CBOR: it refuses as much as the conversion of small ones, and nothing else."""

from __future__ import annotations

import pytest

from tests.support.decoding import FILLING, decode, large, refused


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("msgpack", b"\xd4\x05\x01", "an extension that is no timestamp"),
        ("msgpack", b"\xc7\x01\x05\x01", "the body breaks off"),
        ("msgpack", b"\x92\x01\xca\x7f\xc0\x00\x00", "nan is not a number that JSON has"),
        ("msgpack", b"\x81\xc0\x01", "a key is neither text nor an integer"),
        ("cbor", b"\xa1\xc2\x41\x01\x01", "a key is neither text nor an integer"),
        ("cbor", b"\x81\xf9\xfc\x00", "-inf is not a number that JSON has"),
        ("cbor", b"\xd8\x23\x61a", "the tag 35 is not supported"),
        ("cbor", b"\xc5\x82\x01\x01", "the tag 5 is not supported"),
        ("cbor", b"\xdb" + b"\xff" * 8 + b"\x01", "the tag 18446744073709551615 is not supported"),
        ("cbor", b"\x81\xf7", "undefined"),
        ("cbor", b"\xe0", "a simple value"),
        ("cbor", b"\x81\xff", "an end without a beginning"),
        ("cbor", b"\xbf\x01\xff", "an end without a beginning"),
        ("cbor", b"\x9f\xc1\xff\xff", "a tag without a value"),
        ("cbor", b"\x1c", "no value begins with the byte 0x1c"),
        ("json", b"[" + b"1e300," * 3000 + b"1e300]", "more than 3000 numbers with an exponent"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_body_that_the_check_refuses(kind: str, body: bytes, words: str) -> None:
    """The dead letter says what is wrong, in a large body before a decoder tries it."""
    assert words in refused(kind, large(kind, body))
    refused(kind, body)


@pytest.mark.parametrize(
    ("kind", "body", "payload"),
    [
        ("msgpack", b"\xd7\xff" + b"\0" * 8, "1970-01-01T00:00:00+00:00"),
        ("msgpack", b"\xc7\x0c\xff" + b"\0" * 4 + b"\xff" * 8, "1969-12-31T23:59:59+00:00"),
        ("msgpack", b"\x92\xd6\xff\0\0\0\1\x81\1\xc4\1a", ["1970-01-01T00:00:01+00:00", {"1": "YQ=="}]),
        ("msgpack", b"\xd9\x03abc", "abc"),
        ("msgpack", b"\xda\x00\x01a", "a"),
        ("msgpack", b"\xdb\x00\x00\x01\x2c" + b"a" * 300, "a" * 300),
        ("cbor", b"\x7f\x61a\x61b\xff", "ab"),
        ("cbor", b"\xbf\x7f\x61a\xff\x81\x01\xff", {"a": [1]}),
        ("cbor", b"\xa2\x01\xa1\x20\x80\x02\x03", {"1": {"-1": []}, "2": 3}),
        ("cbor", b"\x9f\x9f\xff\xbf\xff\x5f\x41a\xff\xff", [[], {}, "YQ=="]),
        ("cbor", b"\xc1\xfb\x3f\xe0" + b"\0" * 6, "1970-01-01T00:00:00.500000+00:00"),
        ("cbor", b"\xda\x00\x00\x00\x01\x01", "1970-01-01T00:00:01+00:00"),
        ("cbor", b"\xd9\xd9\xf7\xd8\x64\x01", "1970-01-02"),
        ("cbor", b"\xd9\x03\xec\x6a2026-01-02", "2026-01-02"),
        ("cbor", b"\xfb\x7f\xef" + b"\xff" * 6, 1.7976931348623157e308),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_rare_forms_of_values(kind: str, body: bytes, payload: object) -> None:
    """Text behind a long length, values that only a break ends, all the tags and timestamps: as the formats allow them."""
    assert decode(kind, body) == payload
    assert decode(kind, large(kind, body)) == [FILLING.decode(), payload]


@pytest.mark.parametrize(("kind", "start", "unit"), [("msgpack", b"\xdd", b"\x91\1"), ("cbor", b"\x9a", b"\x81\1")])
def test_a_body_has_a_bounded_number_of_lists(kind: str, start: bytes, unit: bytes) -> None:
    """4,000 and one more per eight bytes pass; of more the dead letter says how many are too many."""
    assert len(decode(kind, start + (12_000).to_bytes(4) + unit * 5_000 + b"\1" * 7_000)) == 12_000
    assert "more than 6500 lists, maps and tags" in refused(kind, start + (10_000).to_bytes(4) + unit * 10_000)
    pair = (b"\x92" + b"\xcd\1\1" * 2) if kind == "msgpack" else (b"\x82" + b"\x19\1\1" * 2)
    assert len(decode(kind, start + (31_000).to_bytes(4) + pair * 31_000)) == 31_000
