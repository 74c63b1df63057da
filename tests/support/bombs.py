"""Bombs: input of 256 KiB that costs as much CPU as a stranger can make it cost.

`bombs()` is used by a test, which holds each to a bound, and by `make bench-micro`, which prints the dearest.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from bridge.errors import BadEvent
from bridge.model.batch import Batch
from bridge.model.event import Details
from bridge.model.message import MessageIds
from bridge.routing.routes import ROUTE_ERRORS
from bridge.sources.amqp.properties import readable_details
from bridge.sources.mqtt.properties import details as mqtt_details
from bridge.sources.redis_stream.entries import details as entry_details
from tests.support import bomb_bodies
from tests.support.bomb_bodies import SIZE
from tests.support.routing import event, router

#: The largest frame of AMQP that RabbitMQ sends, without the frame and the header around a table.
_TABLE_SIZE: Final = (128 << 10) - 100


@dataclass(frozen=True)
class Bomb:
    """`explode` does all that the bridge does with the input; it raises nothing. `body` is empty if the input is another."""

    name: str
    explode: Callable[[], object]
    body: bytes = b""


def bombs(group: str = "") -> Iterator[Bomb]:
    """Yield the bombs of a group, the word before the colon in their names, or all: each is made when it is asked for."""
    for name, make in _GROUPS.items():
        if group in ("", name):
            yield from make()


def _bodies(kind: str, bodies: Callable[[], Iterator[tuple[str, bytes]]]) -> Callable[[], Iterator[Bomb]]:
    def make() -> Iterator[Bomb]:
        for name, body in bodies():
            yield Bomb(f"{kind}: {name}", _routed(kind, body), body)

    return make


def _routed(kind: str, body: bytes, **meta: object) -> Callable[[], object]:
    """Decode `body` and make a message of its whole payload, as a route does."""
    compiled = router([{"actor": "a", "args": ["$payload"]}], decode=kind)
    return lambda: compiled.route(Batch([event("t", body, raw=({}, meta))]))


def _read(read: Callable[[], Details]) -> Callable[[], object]:
    def explode() -> object:
        try:
            return read()
        except BadEvent as error:
            return error

    return explode


def _evaluated(text: str, payload: object) -> Callable[[], object]:
    """Evaluate an expression, and make a message of its value."""
    compiled = router([{"actor": "a", "args": [f"${text}"]}])
    [(route, captures)] = compiled.table.matches("t")
    ids = MessageIds(1)

    def explode() -> object:
        try:
            return route.run(event("t"), payload, captures, ids)
        except ROUTE_ERRORS as error:
            return error

    return explode


def _amqp() -> Iterator[Bomb]:
    """Yield headers as large as one frame of AMQP."""
    for name, header in _headers():
        yield Bomb(f"AMQP: {name}", _read(lambda header=header: readable_details(header, "", False)))  # type: ignore[misc]


def _headers() -> Iterator[tuple[str, bytes]]:
    def header(table: bytes) -> bytes:
        return struct.pack(">HHQHI", 60, 0, 0, 0x2000, len(table)) + table

    values = {
        "nothing": b"V", "booleans": b"t\1", "decimals": b"D\xff\x7f\xff\xff\xff", "times": b"T" + struct.pack(">Q", 1 << 41),
        "empty tables": b"F\0\0\0\0", "binary": b"x\0\0\0\1\xff", "text": b"S\0\0\0\1a", "NaN": b"f\x7f\xc0\0\0",
    }  # fmt: skip
    for name, value in values.items():
        array = value * (_TABLE_SIZE // len(value))
        yield f"an array of {name}", header(b"\1aA" + struct.pack(">I", len(array)) + array)
    yield "small headers", header(b"".join(b"\4%04xV" % n for n in range(_TABLE_SIZE // 6)))
    yield "headers of NaN", header(b"".join(b"\4%04xf\x7f\xc0\0\0" % n for n in range(_TABLE_SIZE // 10)))
    yield "flags without an end", struct.pack(">HHQ", 60, 0, 0) + b"\x20\1" * (_TABLE_SIZE // 2)
    deep = b""
    for _ in range(_TABLE_SIZE // 5):
        deep = b"A" + struct.pack(">I", len(deep)) + deep
    yield "arrays in arrays", header(b"\1a" + deep)
    yield "tables with fields behind their ends", header(_overrunning_tables(18))


def _overrunning_tables(count: int) -> bytes:
    """Return the fields of a table, some 1.4 KB: each of `count` tables in it has its end before its first field's end.

    That field holds the rest. The table around it reads the rest once more, if it goes on at that end: `F` and `size` are
    then the beginning of a name.
    """
    fields, whole = b"\0F", 2 + 77 * count
    for _ in range(count):
        size = whole - len(fields) - 10
        if size & 0x80:  # each byte of a name is ASCII
            size = size & ~0xFF | 0x7F
        fields += b"\0\0\0\1" + b"\0F" + struct.pack(">I", size) + b"\x41" + b"n" * 65 + b"F"
    return fields[:-1] + b"V"


def _mqtt() -> Iterator[Bomb]:
    for name, raw in _mqtt_properties():
        yield Bomb(f"MQTT: {name}", _read(lambda raw=raw: mqtt_details(raw)))  # type: ignore[misc]


def _mqtt_properties() -> Iterator[tuple[str, bytes]]:
    def raw(properties: bytes) -> bytes:
        size = len(properties)
        return b"\x30" + bytes((size & 127 | 128, size >> 7 & 127 | 128, size >> 14)) + properties

    yield "empty user properties", raw(b"\x26\0\0\0\0" * (SIZE // 5))
    yield "user properties", raw(b"".join(b"\x26\0\4%04x\0\0" % n for n in range(SIZE // 9)))
    yield "subscriptions", raw(b"\x0b\1" * (SIZE // 2))


def _redis() -> Iterator[Bomb]:
    fields = [b"%x" % number for number in range(SIZE // 6 * 2)]
    yield Bomb("Redis: an entry of small fields", _read(lambda: entry_details(b"-", (), (b"1-0", fields))))


def _topics() -> Iterator[Bomb]:
    amqp = {"type": "amqp", "url": "amqp://localhost", "queue": "q"}
    globs = {"type": "redis-pubsub", "url": "redis://localhost", "patterns": ["*"]}
    for name, source, pattern, topic in (
        ("MQTT levels", {}, "+/" * 20 + "#", "/" * 65_535),
        ("MQTT levels and captures", {}, "/".join(f"{{a{n}}}" for n in range(30)) + "/#", "a/" * 32_767),
        ("AMQP words", amqp, "#.a.#.b.#.a.#.c", "a." * 127),
        ("AMQP words and captures", amqp, "#.{a}.#.{b}.#.{c}.#.c", "a." * 127),
        ("globs", globs, "*a" * 30 + "*b", "a" * SIZE),
        ("globs and captures", globs, "*{a}*{b}*{c}*b", "a" * SIZE),
    ):
        compiled = router([{"actor": "a", "topic": pattern, "args": []}], **source)
        yield Bomb(f"topic: {name}", lambda compiled=compiled, topic=topic: compiled.route(Batch([event(topic)])))  # type: ignore[misc]


def _keys() -> Iterator[Bomb]:
    body = b'"' + b"k" * (SIZE - 2) + b'"'
    compiled = router([{"actor": "a", "args": []}], deduplicate={"key": "$payload", "within": "1h"})
    yield Bomb("deduplication: a key of 256 KiB", lambda: compiled.route(Batch([event("t", body)])))


def _expressions() -> Iterator[Bomb]:
    for text, payload in _evaluations():
        yield Bomb(f"expression: {text}", _evaluated(text, payload))


def _evaluations() -> Iterator[tuple[str, object]]:
    letters, digits = "a" * SIZE, "9" * SIZE
    noise = "".join(random.Random(1).choices("ab", k=SIZE))
    numbers, lists = [1] * (SIZE // 2), [[n] for n in range(SIZE // 6)]
    nearly = {"text": "a" * (SIZE * 2 // 3), "part": "a" * (SIZE // 6) + "b" + "a" * (SIZE // 6)}
    for text in ("int(payload)", "float(payload)", "lower(payload)", "split(payload)", 'split(payload, "a")', "json(payload)",
                 "base64(payload)", "sha256(payload)", "to_json(payload)", "timestamp(payload)", 'f"{payload}{payload}"'):  # fmt: skip
        yield text, letters
        yield text, digits
    for text in (
        "str(payload)",
        "to_json(payload)",
        'f"{payload}"',
        "min(payload)",
        "payload == payload",
        "{} in payload",
    ):
        yield text, numbers
        yield text, lists
    yield "payload.part in payload.text", nearly
    yield "split(payload.text, payload.part)", nearly
    yield "payload.part in payload.text", {"text": "a" * (SIZE * 2 // 3), "part": "b" + "a" * 60}
    yield "upper(payload)", "ΐ" * (SIZE // 2)
    yield "strip(payload)", " " * SIZE
    yield 'join(",", payload)', [""] * (SIZE // 3)
    yield "json(payload)", "[" + "1e300," * (SIZE // 6 - 1) + "1]"
    yield "json(payload)", "[" + "[]," * (SIZE // 3 - 2) + "1]"
    for text in ('f"{payload:>10}"', "payload ** payload", "payload * payload", "str(payload)", "round(payload, -400)"):
        yield text, 10**4300 - 1
    yield "payload.a ** payload.b", {"a": 1.000001, "b": 2**255}
    for regex in (
        "(a+)+$",
        "(.*a){20}",
        "^(a|aa)*$",
        "[ab]*a[ab]{12}c",
        "[ab]*a[ab]{80}c",
        "(?:[ab]{0,300}a){3}c",
        "(?i)[a-z]+x",
    ):
        yield f'matches(payload, "{regex}")', noise


_GROUPS: Final[dict[str, Callable[[], Iterator[Bomb]]]] = {
    "json": _bodies("json", bomb_bodies.json),
    "msgpack": _bodies("msgpack", bomb_bodies.msgpack),
    "cbor": _bodies("cbor", bomb_bodies.cbor),
    "text": _bodies("text", bomb_bodies.text),
    "bytes": lambda: iter([Bomb("bytes: any", _routed("bytes", b"\xff" * SIZE))]),
    "auto": lambda: iter([Bomb("auto: a type of 64 KiB", _routed("auto", b"1", content_type="a+" * (32 << 10)))]),
    "AMQP": _amqp,
    "MQTT": _mqtt,
    "Redis": _redis,
    "topic": _topics,
    "deduplication": _keys,
    "expression": _expressions,
}
