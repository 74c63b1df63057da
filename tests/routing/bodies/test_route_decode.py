"""`decode` of a route: each body is read once by each kind, and a body that can't be read so damages only those routes."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from bridge.model.accounting import Counts
from bridge.model.event import Event
from bridge.routing.payloads import Payloads
from tests.support.batches import routed
from tests.support.routing import event, router

SENSORS: list[dict[str, Any]] = [
    {"name": "json", "actor": "a", "when": "payload.state == 'on'", "args": ["$payload.state"]},
    {"name": "text", "actor": "b", "decode": "text", "args": ["$payload"]},
    {"name": "again", "actor": "c", "decode": "text", "when": "len(payload) < 100", "args": ["$upper(payload)"]},
]


def _calls(
    events: list[Event], routes: list[dict[str, Any]], **source: Any
) -> tuple[list[list[Any]], list[Any], Counts]:
    entries, counts = routed(router(routes, **source), events)
    calls = [[json.loads(message.body)["args"] for message in entry.messages] for entry in entries]
    letters = [[(letter.route, letter.reason) for letter in entry.dead_letters] for entry in entries]
    return calls, letters, counts


def test_only_the_routes_that_read_it_so_fail() -> None:
    """Text is a dead letter of the JSON route alone; a body that is neither, of each route."""
    events = [event("t", b'{"state": "on"}'), event("t", b"on"), event("t", b"\xff")]
    calls, letters, counts = _calls(events, SENSORS)
    assert calls == [[["on"], ['{"state": "on"}'], ['{"STATE": "ON"}']], [["on"], ["ON"]], []]
    assert letters == [[], [("json", "decode")], [("json", "decode"), ("text", "decode"), ("again", "decode")]]
    assert (counts.enqueued, counts.dead_lettered, counts.reasons) == (1, 2, {"decode": 2})
    assert counts.routes["json"].dead_lettered == 2


def test_a_body_is_read_once_by_each_kind() -> None:
    """However many routes read it so: an error is remembered too."""
    read: list[str] = []

    def decoder(kind: str, payload: object) -> Any:
        def decode(_: Event) -> object:
            read.append(kind)
            return payload

        return decode

    payloads = Payloads(event("t"), {"": decoder("", 1), "text": decoder("text", "x"), "form": decoder("form", {})})
    assert [payloads.read(kind) for kind in ("", "text", "", "text")] == [1, "x", 1, "x"]
    assert read == ["", "text"]
    assert list(payloads.readable()) == [1, "x", {}]


def test_a_route_with_the_decode_of_its_source_costs_nothing() -> None:
    """It is compiled as without it, and so are all routes of the source: the payload is the value itself."""
    plain, same = (
        router([{"actor": "a", "args": ["$payload"]}]),
        router([{"actor": "a", "args": ["$payload"], "decode": "json"}]),
    )
    for each in (plain, same):
        assert each.decode(event("t", b"1")) == 1
        assert each.table.routes[0].run.__code__.co_filename == "<route a>"
    assert plain.table.routes[0].run.__code__.co_code == same.table.routes[0].run.__code__.co_code


def test_the_key_of_the_source_reads_the_payload_of_the_source() -> None:
    """An event whose body is none of the source's kind has no key of the payload, and is written all the same."""
    settings = {"deduplicate": {"key": "$payload.id"}}
    events = [event("t", b'{"id": "k", "state": "on"}'), event("t", b"on")]
    entries, _ = routed(router(SENSORS, **settings), events)
    assert [entry.event.deduplication_key for entry in entries] == [b"k", b""]
    assert [len(entry.messages) for entry in entries] == [3, 2]


def test_repairs_are_counted_once_for_each_event() -> None:
    """In the counts of the batch, whether one route reads the body or several."""
    body = gzip.compress(b'{"state": "on"}')
    one = [event("t", body, raw=({}, {"content_encoding": "gzip"})), event("t", b"\xef\xbb\xbf{}")]
    _, _, counts = _calls(one, SENSORS[:1])
    assert counts.repaired == {"compressed": 1, "bom": 1}
    made = router(SENSORS[:1])
    assert [routed(made, [one])[1].repaired for one in (event("t", b"{}\0"), event("t", b"{}"))] == [{"bom": 1}, {}]


@pytest.mark.parametrize("has_own", [False, True])
def test_a_message_may_be_as_large_as_what_was_compressed(has_own: bool) -> None:
    """The bound of a message goes by its event, and by all that came out of it: 4 KiB may hold 200 KiB of JSON."""
    routes: list[dict[str, Any]] = [{"actor": "a", "args": ["$payload"]}]
    if has_own:
        routes.append({"actor": "b", "args": ["$len(payload)"], "decode": "text"})
    body = gzip.compress(json.dumps(["x" * 200_000]).encode())
    assert len(body) < 4096
    calls, letters, _ = _calls([event("t", body, raw=({}, {"content_encoding": "gzip"}))], routes)
    assert (calls[0][0], letters) == ([["x" * 200_000]], [[]])


@pytest.mark.parametrize("has_own", [False, True])
def test_a_dropped_body_is_filtered(has_own: bool) -> None:
    """`empty: drop` makes no dead letter: the event counts as filtered."""
    routes = SENSORS[:2] if has_own else SENSORS[:1]
    calls, letters, counts = _calls([event("t", b""), event("t", b'{"state": "on"}')], routes, empty="drop")
    assert (calls[0], letters) == ([], [[], []])
    assert (counts.received, counts.filtered, counts.enqueued, counts.dead_lettered) == (2, 1, 1, 0)
    assert counts.settled == counts.received
    assert counts.repaired["empty"] >= 1
