"""A retry of a letter without its redacted fields: a route that reads one is refused, and says so."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.dead_letters.test_retry import BROKEN, OTHER, numbers
from tests.support.letters import ORDERS, Desk, order

NOTHING = {"$payload.n is null": False, "$len(flatten([payload.n]))": 1}
REDACT = {"redact": ["payload.card", "payload.card.number", "payload.items.card", "headers.authorization"]}


@pytest.mark.parametrize(
    ("reads", "refused"),
    [
        ("$payload.card", True),
        ("$payload", True),
        ("$[payload.n, payload.items]", True),
        ('$f"{payload.card}"', True),
        ("$len(payload.card)", True),
        ("$int(payload.card)", True),
        ('$default(payload.card, "none")', True),
        ("$payload.card == 5", True),
        ('$payload.card in ["5"]', True),
        ("$upper(payload.card)", True),
        ('$headers["Authorization"]', True),
        ("$bool(payload.card)", True),
        ("$sha256(to_json(payload))", True),
        ("$payload.card.number", True),
        ("$min(payload.n, payload.card)", True),
        ("$payload.n + payload.card", True),
        ("$payload.items[0].card", True),
        ("$type(payload.card)", True),
        ("$catch(payload.card, 0)", True),
        ("$catch(int(payload.card), 0)", True),
        ("$catch(payload.card < 5, false)", True),
        ("$catch(to_json([payload.card]), 0)", True),
        ("$catch(str(payload), 0)", True),
        ("$catch(unique([payload.card]), 0)", True),
        ("$payload.card is null", True),
        ("$payload.card is not null", True),
        ("$payload.card == true", True),
        ("$[x.card is null for x in payload.items]", True),
        ("$len(flatten([payload.card]))", True),
        ("$catch(payload.n, 0)", False),
        ("$payload.n is null", False),
        ("$len(flatten([payload.n]))", False),
        ("$payload.n", False),
        ("$has(payload.card)", False),
        ("$len(payload)", False),
        ("$payload.items[0].n", False),
        ("$payload.n == 1 or payload.card == 5", False),
    ],
)
async def test_a_route_that_reads_a_redacted_field_is_refused(desk: Desk, reads: str, refused: bool) -> None:
    """And no other: the rest of the event is as it was."""
    desk.write_config([BROKEN], dead_letters=REDACT)
    body = {"card": "5", "items": [{"card": "6", "n": 3}], "n": 1}
    (letter,) = await desk.receive(order(msgspec.json.encode(body), {"Authorization": "x"}))
    assert set(letter.redacted) == {"payload.card", "payload.items.card", "headers.Authorization"}
    desk.write_config([{**BROKEN, "args": [reads]}], dead_letters=REDACT)
    retried = await desk.retry(letter)
    assert retried.outcome == ("refused" if refused else "retried"), retried
    if refused:
        assert retried.detail == "the route note reads a field that was redacted"
        assert await desk.letters() == [letter]
    else:
        assert numbers(desk) == [
            {"$payload.n": 1, "$len(payload)": 3, "$payload.items[0].n": 3, **NOTHING}.get(reads, True)
        ]


async def test_a_failing_retry_keeps_a_letter_redacted(desk: Desk) -> None:
    """The headers that are left stay, and so do the names of those that went."""
    desk.write_config([BROKEN], dead_letters=REDACT)
    (letter,) = await desk.receive(order(b'{"card": "5"}', {"Authorization": "x", "h": 1}))
    desk.write_config([BROKEN], dead_letters={"redact": [*REDACT["redact"], "headers.h"]})
    assert (await desk.retry(letter)).outcome == "failed"
    (after,) = await desk.letters()
    assert (after.headers, after.body, after.details_error) == ({}, b"{}", "")
    assert set(after.redacted) == {*letter.redacted, "headers.h"}


async def test_a_letter_older_than_redact_loses_its_earlier_errors(desk: Desk) -> None:
    """A retry that fails writes it anew: the field is gone from all reasons, also from those before."""
    route = {**BROKEN, "args": ["$int(payload.card)"]}
    desk.write_config([route])
    (letter,) = await desk.receive(order(b'{"card": "s3cret"}'))
    await desk.retry(letter)
    (letter,) = await desk.letters()
    desk.write_config([{**route, "args": ["$payload.none"]}], dead_letters=REDACT)
    assert (await desk.retry(letter)).outcome == "failed"
    (after,) = await desk.letters()
    assert len(after.earlier) == 2
    assert "s3cret" not in str(after)


async def test_a_body_that_was_left_out_is_refused(desk: Desk) -> None:
    """Nobody has it."""
    desk.write_config([BROKEN], dead_letters=REDACT)
    (letter,) = await desk.receive(order(b"{"))
    assert "its body was left out by dead_letters.redact" in (await desk.retry(letter)).detail


async def test_a_redacted_deduplication_key_is_refused(desk: Desk) -> None:
    """Without the key nobody knows whether the event was written."""
    by_card = {"orders": {**ORDERS, "deduplicate": {"key": "$payload.card"}}}
    desk.write_config([BROKEN], sources=by_card, dead_letters=REDACT)
    (letter,) = await desk.receive(order(b'{"card": "5"}'))
    desk.write_config([OTHER], sources=by_card, dead_letters=REDACT)
    retried = await desk.retry(letter, as_is=True)
    assert retried.detail == "the deduplication key of its source reads a field that was redacted"


SCHEMA = {"type": "object", "required": ["card"], "properties": {"card": {"type": "string"}}}


@pytest.mark.parametrize(
    "keys",
    [
        {"when": "payload.card is null"},
        {"when": "payload.card"},
        {"foreach": "$payload.card"},
        {"foreach": "$payload.items", "args": ["$item.card is null"]},
        {"deduplicate": {"key": "$payload.card"}},
        {"queue_by": {"key": "$payload.card", "queues": {"5": "five"}}},
        {"actor": "$payload.card", "allow": {"actor": ["5"]}},
        {"queue": "$payload.card", "allow": {"queue": ["five"]}},
        {"args": "$payload.card"},
        {"kwargs": "$payload.card"},
        {"kwargs": {"card": "$payload.card"}},
        {"args": ['$lookup("cards", payload.card, 0)']},
        {"delay": "$payload.card"},
        {"eta": "$payload.card"},
        {"options": {"max_retries": "$payload.card"}},
        {"options": {"mine": "$payload.card"}},
        {"then": [{"actor": "b", "args": ["$payload.card"]}]},
        {"then": [{"actor": "b", "message_id": "$payload.card"}]},
        {"then": [{"actor": "b", "delay": "$payload.card"}]},
        {"validate": SCHEMA},
    ],
    ids=str,
)
async def test_no_key_of_a_route_takes_a_redacted_field_for_another_value(desk: Desk, keys: dict[str, Any]) -> None:
    """Nothing is written of a field that nobody has, and no condition is false for it."""
    desk.write_config([BROKEN], dead_letters=REDACT)
    (letter,) = await desk.receive(order(b'{"card": "5", "items": [{"card": "6"}]}'))
    desk.write_config([{**BROKEN, "args": [1], **keys}], dead_letters=REDACT, tables={"cards": {"values": {"5": 1}}})
    retried = await desk.retry(letter)
    assert (retried.outcome, retried.detail) == ("refused", "the route note reads a field that was redacted")
    assert await desk.letters() == [letter]


async def test_a_source_that_validates_a_redacted_field(desk: Desk) -> None:
    """The event had the field, so a retry does not say that it is missing."""
    checked = {"orders": {**ORDERS, "validate": SCHEMA}}
    desk.write_config([BROKEN], sources=checked, dead_letters=REDACT)
    (letter,) = await desk.receive(order(b'{"card": "5"}'))
    assert (letter.route, letter.redacted) == ("note", ("payload.card",))
    desk.write_config([OTHER, {**BROKEN, "args": [1]}], sources=checked, dead_letters=REDACT)
    retried = await desk.retry(letter)
    assert retried.outcome == "refused"
    assert retried.detail.startswith(
        'the schema of its source can\'t be asked without the fields that were redacted: payload: "card" is a required'
    )
