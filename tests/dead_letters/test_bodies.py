"""Dead letters of repaired bodies, and of routes with their own decode: a retry reads them as the bridge does."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from tests.support.letters import ORDERS, Desk, order
from tests.support.processes import queue_messages

BROKEN: dict[str, Any] = {"name": "r", "from": "orders", "actor": "record", "args": ["$payload.nothing"]}
PLAIN = b'{"id": 7, "card": "4111", "note": "gr\xc3\xbcn"}'


def _written(desk: Desk) -> list[list[Any]]:
    with desk.server.client() as client:
        return [message["args"] for message in queue_messages(client, "default")]


@pytest.mark.parametrize("redact", [[], ["payload.card"]])
@pytest.mark.parametrize(
    ("body", "meta", "settings"),
    [
        (gzip.compress(PLAIN, mtime=0), {"content_encoding": "gzip"}, {}),
        (gzip.compress(PLAIN, mtime=0), {}, {"content_encoding": "gzip"}),
        (b"\xef\xbb\xbf" + PLAIN + b"\0", {}, {}),
        (PLAIN.decode().encode("iso-8859-1"), {}, {"charset": "iso-8859-1"}),
        (PLAIN.replace(b'"4111"', b"NaN"), {}, {"lenient": True}),
    ],
    ids=["declared", "set", "mark", "charset", "lenient"],
)
async def test_a_repaired_body_is_retried(
    desk: Desk, body: bytes, meta: dict[str, Any], settings: dict[str, Any], redact: list[str]
) -> None:
    """The letter has the body as it came; of a redacted one the rest, in plain JSON."""
    sections: dict[str, Any] = {"sources": {"orders": {**ORDERS, **settings}}, "dead_letters": {"redact": redact}}
    desk.write_config([BROKEN], **sections)
    (letter,) = await desk.receive(order(body, **meta))
    assert letter.body == (b'{"id":7,"note":"gr\xc3\xbcn"}' if redact else body)
    desk.write_config([{**BROKEN, "args": ["$payload.id", "$payload.note"]}], **sections)
    await desk.retry(letter)
    assert _written(desk) == [[7, "grün"]]
    assert await desk.letters() == []


async def test_a_route_with_its_own_decode_is_retried(desk: Desk) -> None:
    """Its letter is read by its kind, whatever the source reads; a field that was removed is missed there too."""
    routes = [{**BROKEN, "decode": "form"}, {**BROKEN, "name": "json", "args": ["$payload.id"]}]
    desk.write_config(routes, dead_letters={"redact": ["payload.card"]})
    letters = await desk.receive(order(b"id=7&card=4111"))
    assert [(letter.route, letter.reason, letter.body) for letter in letters] == [
        ("r", "missing-field", b"id=7"),
        ("json", "decode", b"id=7"),
    ]
    desk.write_config([{**routes[0], "args": ["$payload.card"]}])
    assert "redacted" in (await desk.retry(letters[0])).detail
    desk.write_config([{**routes[0], "args": ["$payload.id"]}])
    await desk.retry(letters[0])
    assert _written(desk) == [["7"]]


async def test_an_empty_body_that_is_dropped_today(desk: Desk) -> None:
    """Nothing would be written: the letter stays, and the answer says why."""
    desk.write_config([{**BROKEN, "args": ["$payload"]}])
    (letter,) = await desk.receive(order(b""))
    desk.write_config([{**BROKEN, "args": ["$payload"]}], sources={"orders": {**ORDERS, "empty": "drop"}})
    assert "empty: drop" in (await desk.retry(letter)).detail
    assert await desk.letters() == [letter]
    desk.write_config([{**BROKEN, "args": ["$payload"]}], sources={"orders": {**ORDERS, "empty": "as-null"}})
    await desk.retry(letter)
    assert _written(desk) == [[None]]


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"decode": "text", "args": ["$payload"]}, True),
        ({"decode": "bytes", "args": ["$base64(payload)"]}, True),
        ({"decode": "text", "args": ["$topic"], "when": '"4111" in payload'}, True),
        ({"decode": "text", "args": ["$topic"]}, False),
        ({"decode": "json-or-text", "args": ["$payload.id"]}, False),
    ],
)
async def test_a_route_that_reads_a_redacted_body_as_text_is_refused(
    desk: Desk, changes: dict[str, Any], refused: bool
) -> None:
    """Nothing stands for the removed field in a text: the route would write what never came."""
    sections: dict[str, Any] = {"dead_letters": {"redact": ["payload.card"]}}
    desk.write_config([BROKEN], **sections)
    (letter,) = await desk.receive(order(PLAIN))
    desk.write_config([{**BROKEN, **changes}], **sections)
    retried = await desk.retry(letter)
    assert (retried.outcome, len(_written(desk))) == (("refused", 0) if refused else ("retried", 1))
    if refused:
        assert retried.detail == "the route r reads the body as text, of which fields were redacted"
