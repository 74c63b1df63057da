"""Letters and books that a newer version has written."""

from __future__ import annotations

from bridge.model.event import Event
from tests.support.letters import Desk, order

KEY = "dramatiq-bridge:dead-letters"
ROUTE = {"name": "note", "from": "orders", "actor": "record", "args": ["$payload.id"]}
MENDED = {**ROUTE, "args": ['$default(payload.id, "none")']}


async def newest(desk: Desk, event: Event, **fields: str) -> str:
    """Write a letter, and add fields to it as a newer version would; return its id."""
    desk.write_config([ROUTE])
    letter = (await desk.receive(event))[-1]
    with desk.server.client() as client:
        ((_, written),) = client.xrange(KEY, letter.id, letter.id)
        client.xdel(KEY, letter.id)
        changed = written | {name.encode(): value.encode() for name, value in fields.items()}
        return str(client.xadd(KEY, changed).decode())


async def test_fields_that_are_added_are_passed_over(desk: Desk) -> None:
    """A letter of the same version is read and retried."""
    letter_id = await newest(desk, order(b"{}"), later="1")
    desk.write_config([MENDED])
    letter = await desk.store.get(letter_id)
    assert letter is not None
    assert (await desk.retry(letter)).outcome == "retried"


async def test_a_letter_of_a_higher_version_is_shown_and_not_retried(desk: Desk) -> None:
    """It stays, and the words say which version retries it."""
    letter_id = await newest(desk, order(b"{}"), version="2", reason="a new reason")
    desk.write_config([MENDED])
    letter = await desk.store.get(letter_id)
    assert letter is not None
    assert (letter.reason, letter.body) == ("a new reason", b"{}")
    retried = await desk.retry(letter)
    assert (retried.outcome, retried.reason) == ("refused", "newer")
    assert "a newer version has written it: retry it with that version" in retried.detail
    assert await desk.store.get(letter_id) == letter


async def test_letters_are_deleted_beside_other_books(desk: Desk) -> None:
    """A purge leaves the books as they are: they are not of this version."""
    letter_id = await newest(desk, order(b"{}"))
    with desk.server.client() as client:
        client.hset(f"{KEY}:books", mapping={"format": "2", "last": "x"})
        assert await desk.store.purge([letter_id]) == 1
        assert client.hmget(f"{KEY}:books", "format", "last") == [b"2", b"x"]
