"""Bodies of 256 KiB that cost as much CPU as a stranger can make them cost, by format: each has a name."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from bridge.routing.body_check import BYTES_PER_PART, FREE_PARTS

SIZE: Final = 256 << 10


def _fill(unit: bytes, before: bytes = b"[", after: bytes = b"]") -> bytes:
    room = SIZE - len(before) - len(after)
    return before + (unit * (room // len(unit) + 1))[: room // len(unit) * len(unit)] + after


def json() -> Iterator[tuple[str, bytes]]:
    """JSON."""
    yield "whole numbers", _fill(b"1,", after=b"1]")
    yield "empty lists", _fill(b"[],", after=b"1]")
    yield "lists", _fill(b"[1],", after=b"1]")
    yield "mappings", _fill(b'{"":1},', after=b"1]")
    yield "lists 60 deep", _fill(b"[" * 60 + b"]" * 60 + b",", after=b"1]")
    yield "pairs 60 deep", _fill(b"[1," * 60 + b"1" + b"]" * 60 + b",", after=b"1]")
    yield "brackets", b"[" * SIZE
    yield "one long number", b"9" * SIZE
    yield "numbers of 4,300 digits", _fill(b"9" * 4300 + b",", after=b"1]")
    yield "fractions of 1,000 digits", _fill(b"0." + b"9" * 1000 + b",", after=b"1]")
    yield "numbers with an exponent", _fill(b"1e-307,", after=b"1]")
    for number in (b"1e300", b"-1.5e-308", b"1E+299", b" 5e-324", b"2.2250738585072011e-308"):
        yield f"numbers such as {number.decode()}", _fill(number + b",", after=b"1]")
        yield f"keys with numbers such as {number.decode()}", _fill(b'"":' + number + b",", b"{", b'"":1}')
    yield "some numbers such as 1e300", _fill(b"1e300," + b"1," * 41, after=b"1]")
    yield "keys", b"{" + b",".join(b'"%x":1' % number for number in range(SIZE // 10)) + b"}"
    yield "one key again and again", _fill(b'"a":1,', b"{", b'"a":1}')
    yield "escapes", _fill(b"\\u00e9", b'"', b'"')
    yield "surrogate pairs", _fill(b"\\ud83d\\ude00", b'"', b'"')
    yield "control characters, escaped again", _fill(b"\\u0001", b'"', b'"')
    yield "white space", b" " * (SIZE - 1) + b"1"


def text() -> Iterator[tuple[str, bytes]]:
    """Text."""
    yield "control characters, to be escaped", b"\1" * SIZE
    yield "letters of four bytes", "😀".encode() * (SIZE // 4)
    yield "not UTF-8 at its end", b"a" * (SIZE - 1) + b"\xff"


def _list(kind: str, values: list[bytes] | bytes, count: int = 0) -> bytes:
    start = b"\xdd" if kind == "msgpack" else b"\x9a"
    if isinstance(values, list):
        return start + struct.pack(">I", len(values)) + b"".join(values)
    count = count or (SIZE - 5) // len(values)
    return start + struct.pack(">I", count) + values * count


def _map(kind: str, keys: list[bytes]) -> bytes:
    start = b"\xdf" if kind == "msgpack" else b"\xba"
    return start + struct.pack(">I", len(keys)) + b"".join(key + b"\1" for key in keys)


def _most_parts(kind: str, part: bytes, weight: int = 1, filling: bytes = b"\1") -> bytes:
    """Return a list of as many lists, maps or tags as a body may have, filled up."""
    count = (FREE_PARTS + SIZE // BYTES_PER_PART) // weight - 1
    count = min(count, (SIZE - 5) // len(part))
    room = (SIZE - 5 - count * len(part)) // len(filling)
    return _list(kind, [part] * count + [filling] * room)


def msgpack() -> Iterator[tuple[str, bytes]]:
    """MessagePack."""
    parts = {"empty lists": b"\x90", "lists": b"\x91\1", "maps": b"\x81\1\1", "maps of text": b"\x81\xa0\xa0"}
    values = {
        "small integers": b"\1", "integers of two bytes": b"\xcc\x81", "of three": b"\xcd\xff\1", "binary": b"\xc4\0",
        "short text": b"\xa1a", "long empty text": b"\xd9\0", "longer empty text": b"\xda\0\0", "text of 32": b"\xd9\x20" + b"a" * 32,
        "floats": b"\xca\0\0\0\1", "doubles": b"\xcb" + b"\1" * 8, "times": b"\xd6\xff\x65\0\0\0", "null": b"\xc0",
    }  # fmt: skip
    yield from _binary("msgpack", parts, values, b"\xcf")
    yield "NaN at the end", _list("msgpack", [b"\xca\0\0\0\1"] * (SIZE // 5 - 2) + [b"\xca\x7f\xc0\0\0"])
    yield "an unknown extension at the end", _list("msgpack", [b"\1"] * (SIZE - 9) + [b"\xd4\5\1"])
    yield "brackets", b"\x91" * SIZE
    yield (
        "lists with the same hash as keys",
        _map("msgpack", [b"\x92\xce%b\xcf%b" % pair for pair in _same_hash(SIZE // 17)]),
    )


def cbor() -> Iterator[tuple[str, bytes]]:
    """CBOR."""
    parts = {
        "empty lists": b"\x80", "lists": b"\x81\1", "maps": b"\xa1\1\1", "maps of text": b"\xa1\x60\x60",
        "lists with an end": b"\x9f\xff", "maps with an end": b"\xbf\1\1\xff", "texts in chunks": b"\x7f\x61a\xff",
    }  # fmt: skip
    values = {
        "small integers": b"\1", "integers of two bytes": b"\x18\x81", "of three": b"\x19\xff\1", "binary": b"\x41a",
        "empty binary": b"\x40", "short text": b"\x61a", "long empty text": b"\x78\0", "longer empty text": b"\x79\0\0",
        "text of 32": b"\x78\x20" + b"a" * 32, "half floats": b"\xf9\0\1", "floats": b"\xfa\0\0\0\1", "null": b"\xf6",
    }  # fmt: skip
    yield from _binary("cbor", parts, values, b"\x1b")
    tags = {
        "times": b"\xc1\x1a\x65\0\0\0", "times of one digit": b"\xc1\1", "times as text": b"\xc0\x742026-01-02T03:04:05Z",
        "small bignums": b"\xc2\x41\1", "negative bignums": b"\xc3\x41\1", "decimals": b"\xc4\x82\1\1", "days": b"\xd8\x64\1",
        "dates": b"\xd9\x03\xec\x6a2026-01-02", "self-described": b"\xd9\xd9\xf7\1", "wide tags": b"\xda\0\0\0\1\1",
        "times of fractions": b"\xc1\xfb\x41\xd9\x40\0\0\x10\0\0",
    }  # fmt: skip
    for name, tag in tags.items():
        weight = 4 if name == "decimals" else 3
        yield f"most {name}", _most_parts("cbor", tag, weight)
        yield f"most {name}, and integers of two bytes", _most_parts("cbor", tag, weight, b"\x18\x81")
        yield f"too many {name}", _list("cbor", tag)
    number = b"\x59\x06\xf9" + b"\x7f" * 1785
    yield "bignums of 4,299 digits", _list("cbor", b"\xc2" + number)
    yield "decimals of 4,299 digits", _list("cbor", b"\xc4\x82\1\xc2" + number)
    yield "one bignum of 256 KiB", b"\xc2\x5a" + struct.pack(">I", SIZE - 6) + b"\xff" * (SIZE - 6)
    yield "chunks of text", b"\x7f" + b"\x61a" * (SIZE // 2 - 1) + b"\xff"
    regex = "(?i)" + "[\0-\U0010ffff]" * 5_000
    yield "a regular expression", b"\xd8\x23\x7a" + struct.pack(">I", len(regex.encode())) + regex.encode()
    yield "brackets", b"\x81" * SIZE
    yield "tags in tags", b"\xd9\xd9\xf7" * (SIZE // 3) + b"\1"
    yield (
        "lists with the same hash as keys",
        _map("cbor", [b"\x82\x1a%b\x1b%b" % pair for pair in _same_hash(SIZE // 17)]),
    )


def _binary(kind: str, parts: dict[str, bytes], values: dict[str, bytes], wide: bytes) -> Iterator[tuple[str, bytes]]:
    two_bytes = values["integers of two bytes"]
    for name, part in parts.items():
        yield f"most {name}", _most_parts(kind, part)
        yield f"most {name}, and integers of two bytes", _most_parts(kind, part, filling=two_bytes)
        yield f"too many {name}", _list(kind, part)
    for name, value in values.items():
        yield name, _list(kind, value)
    yield "small maps", _list(kind, [_small_map(kind)] * (SIZE // 27))
    # Of the integers modulo 2**61 - 1 Python's hash knows no more; shifted, their low bits are the same.
    for name, numbers in {
        "keys with the hash of others": [low + (2**61 - 1) * n for low in range(SIZE // 80) for n in range(8)],
        "keys with the same low bits": [number << 44 for number in range(SIZE // 10)],
    }.items():
        yield name, _map(kind, [wide + struct.pack(">Q", number % 2**64) for number in numbers])


def _small_map(kind: str) -> bytes:
    return (b"\x8d" if kind == "msgpack" else b"\xad") + b"".join(bytes((key, 1)) for key in range(13))


def _same_hash(count: int) -> list[tuple[bytes, bytes]]:
    """Return pairs of integers, in 4 and 8 bytes: of each pair Python's hash is the same (CPython's Objects/tupleobject.c)."""
    mask, prime_1, prime_2, prime_5 = 2**64 - 1, 11400714785074694791, 14029467366897019727, 2870177450012600261
    inverse, first = pow(prime_2, -1, 2**64), 0
    pairs: list[tuple[bytes, bytes]] = []
    while len(pairs) < count:
        first += 1
        mixed = (prime_5 + first * prime_2) & mask
        mixed = ((mixed << 31 | mixed >> 33) & mask) * prime_1 & mask
        second = (12345 - mixed) * inverse & mask
        if second < 2**61 - 1:  # it is its own hash
            pairs.append((struct.pack(">I", first), struct.pack(">Q", second)))
    return pairs
