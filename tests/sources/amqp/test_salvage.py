"""A property or header that can't be read damages only the routes that read it."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from bridge.errors import BadEvent
from bridge.model.event import Event, UnreadableDetails
from bridge.sources.amqp.deliveries import DeliveryReader
from bridge.sources.amqp.properties import details, readable_details
from bridge.sources.amqp.salvage import salvage
from tests.sources.amqp.test_deliveries import EVERYTHING
from tests.support.amqp_wire import bodies, deliver
from tests.support.amqp_wire import header as header_frame
from tests.support.batches import routed
from tests.support.routing import router

#: A header that can't be read, and whether the place of the next one is known all the same.
DEEP: bytes = b"V"
for _ in range(2_000):
    DEEP = b"F" + struct.pack(">I", len(b"\1x" + DEEP)) + b"\1x" + DEEP
BAD_HEADERS = {
    "a deep table": (b"\3bad" + DEEP, True),
    "a table that is cut off": (b"\3badF" + struct.pack(">I", 10) + b"\1bS\0\0\0\5lat", True),
    "a name inside that is not UTF-8": (b"\3badF" + struct.pack(">I", 3) + b"\1\xffV", True),
    "a time that does not exist": (b"\3badT" + b"\x7f" * 8, True),
    "an unknown type": (b"\3badq" + b"\0", False),
}


def properties_around(bad: bytes) -> bytes:
    """Return the flags and values of properties with the headers `a`, `bad` and `b`, and a correlation id that is no text."""
    fields = b"\1aS\0\0\0\1x" + bad + b"\1bS\0\0\0\1y"
    values = b"\1j" + struct.pack(">I", len(fields)) + fields + b"\7" + b"\1\xff" + b"\2id"
    # content type, headers, priority, correlation id (not UTF-8), message id
    return struct.pack(">H", 0x8000 | 0x2000 | 0x0800 | 0x0400 | 0x0080) + values


def _event(bad: bytes) -> Event:
    reader, events = DeliveryReader("s"), list[Event]()
    reader.consume(1, "dramatiq-bridge")
    reader.feed(deliver(1) + header_frame(2, properties_around(bad)) + b"".join(bodies(b"{}", 2)), events)
    return events[0]


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_only_the_route_that_reads_it_fails(case: str) -> None:
    """The other headers and properties are there; all of them together are not, and a missing one is missing."""
    bad, next_is_known = BAD_HEADERS[case]
    routes: list[dict[str, Any]] = [
        {"actor": "payload", "args": ["$payload"]},
        {"actor": "before", "args": ["$headers.a", "$meta.message_id", "$meta.priority", "$meta.app_id"]},
        {"actor": "behind", "args": ["$headers.b"]},
        {"actor": "missing", "args": ['$default(headers.none, "-")']},
        {"actor": "bad", "args": ["$headers.bad"]},
        {"actor": "all", "kwargs": "$headers"},
        {"actor": "all too", "args": ["$headers"]},
        {"actor": "correlation", "args": ["$meta.correlation_id"]},
    ]
    entries, _ = routed(router(routes, type="amqp", url="amqp://localhost", queue="q"), [_event(bad)])
    failed = {letter.route for letter in entries[0].dead_letters}
    assert failed == {"bad", "all", "all too", "correlation"} | (set() if next_is_known else {"behind", "missing"})
    assert len(entries[0].messages) == len(routes) - len(failed)
    assert {letter.reason for letter in entries[0].dead_letters} == {"decode"}


@pytest.mark.parametrize(
    "value",
    [
        {"args": ["$headers"]},
        {"args": "$default(payload.none, headers)"},
        {"args": [{"h": "$headers"}]},
        {"kwargs": {"h": "$headers"}},
        {"options": {"x": "$headers"}},
        {"foreach": "$default(payload.none, headers)"},
        {"foreach": "$items(headers)", "args": ["$item"]},
        {"then": [{"actor": "b", "args": ["$headers"]}]},
        *(
            {"args": [f"${expression}"]}
            for expression in (
                "to_json(headers)", "len(headers)", "keys(headers)", 'without(headers, "a")', 'f"{headers}"', "not headers",
                "type(headers)", "default(headers, 1)", "[headers]", "{'h': headers}", "headers == {}", "headers < 1",
                "catch(headers, 1)", "default(headers.bad, 1)", "has(headers.bad)", '"bad" in headers',
            )
        ),
    ],
    ids=str,
)  # fmt: skip
def test_whoever_takes_all_headers_takes_the_one_that_cannot_be_read(value: dict[str, Any]) -> None:
    """The dead letter says which bytes are wrong, however the route passes the headers on."""
    made = router([{"actor": "a", **value}], type="amqp", url="amqp://localhost", queue="q")
    entries, _ = routed(made, [_event(BAD_HEADERS["a table that is cut off"][0])])
    (letter,) = entries[0].dead_letters
    assert letter.reason == "decode"
    assert letter.detail.removeprefix("then.0: ") == "a property can't be read: a table is cut off"


def test_auto_goes_by_a_content_type_beside_a_broken_header() -> None:
    """A body is decoded by its content type, also where another property can't be read."""
    made = router([{"actor": "a", "args": ["$payload"]}], type="amqp", url="amqp://localhost", queue="q", decode="auto")
    event = _event(b"\3badq")
    with pytest.raises(UnreadableDetails):
        event.details()
    with pytest.raises(BadEvent, match="no decoder for the content type 'j'"):
        made.payload(event)


def test_any_damage_is_survived() -> None:
    """Of 3,000 headers with bytes changed or cut, none raises another error; what is read is as in the whole one."""
    chance = random.Random(20)
    whole = ContentHeader(body_size=7, properties=EVERYTHING).marshal()
    known = details(EVERYTHING, "", False)[0]
    same = 0
    for _ in range(3_000):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(14, len(damaged))] = chance.randrange(256)
        raw = bytes(damaged[: chance.choice([len(damaged), chance.randrange(12, len(damaged))])])
        try:
            readable_details(raw, "", False)
        except UnreadableDetails as error:
            headers, meta = error.details
            for name in known:
                try:
                    same += headers.get(name) == known[name]
                except BadEvent:
                    continue
            assert meta["exchange"] == ""
    assert same > 1_000


def test_a_good_header_needs_no_salvage() -> None:
    """It is the same that the normal decoder reads."""
    properties, unreadable, lost = salvage(ContentHeader(body_size=7, properties=EVERYTHING).marshal())
    assert isinstance(properties, Basic.Properties)
    assert (unreadable, lost) == (set(), set())
    assert details(properties, "", False) == details(EVERYTHING, "", False)
