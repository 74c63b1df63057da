"""Compares what brokers have confirmed with what is in Dramatiq's Redis."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import redis

from tests.faults.ledger import Ledger

DEAD_LETTERS: Final = "dramatiq-bridge:dead-letters"
#: As ledger.py writes it; a hostile body may be anything, and is looked at no further.
_BODY: Final = re.compile(rb'\{"n": (\d{1,9}), "text"')


@dataclass(slots=True)
class Arrived:
    """What has become of the events of one source, by number: how often each is in its queue, and which are dead letters."""

    queued: Counter[int] = field(default_factory=Counter)
    dead: Counter[int] = field(default_factory=Counter)
    #: What contradicts itself, in words: ids without a message, messages without an id.
    orphans: list[str] = field(default_factory=list)

    @property
    def duplicates(self) -> int:
        """How many events too many there are."""
        both = self.queued + self.dead
        return both.total() - len(both)

    def missing(self, ledger: Ledger) -> list[int]:
        """Return the numbers that were confirmed and have not arrived, in order."""
        return sorted(set(ledger.confirmed) - self.queued.keys() - self.dead.keys())


def look(client: redis.Redis, sources: Iterable[str]) -> dict[str, Arrived]:
    """Return what has arrived of each source; its queue has the source's name, and no worker consumes it."""
    arrived = {source: _queue(client, source) for source in sources}
    for _, fields in _answer(client.xrange(DEAD_LETTERS)):
        source = arrived.get(fields[b"source"].decode())
        number = number_of(fields[b"body"])
        if source is not None and number is not None:
            source.dead[number] += 1
    return arrived


def poisoned(client: redis.Redis) -> int:
    """Return of how many sources a poison is a dead letter: one is so twice if another ends the bridge before it is acknowledged."""
    letters = _answer(client.xrange(DEAD_LETTERS))
    return len({fields[b"source"] for _, fields in letters if fields[b"reason"] == b"poison"})


def newest(client: redis.Redis, source: str) -> int:
    """Return the largest number among the last of a queue, -1 if it is empty."""
    key = f"dramatiq:{source}"
    ids = _answer(client.lrange(key, -200, -1))
    bodies = _answer(client.hmget(f"{key}.msgs", ids)) if ids else []
    return max((_number(json.loads(body)) for body in bodies if body is not None), default=-1)


def lengths(client: redis.Redis, sources: Iterable[str]) -> dict[str, int]:
    """Return how many ids each queue's list holds."""
    return {source: _answer(client.llen(f"dramatiq:{source}")) for source in sources}


def number_of(body: bytes) -> int | None:
    """Return the number in an event's body, or None where it is no event of a load."""
    found = _BODY.match(body)
    return int(found[1]) if found else None


def shown(numbers: list[int]) -> str:
    """Return numbers as text that stays short, runs as `first-last`."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    text = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs[:8])
    return text + (" ..." if len(runs) > 8 else "")


def _queue(client: redis.Redis, source: str) -> Arrived:
    key = f"dramatiq:{source}"
    # In one transaction: a bridge may write between two commands.
    with client.pipeline(transaction=True) as both:
        both.lrange(key, 0, -1)
        both.hgetall(f"{key}.msgs")
        ids, messages = both.execute()
    return compare(key, ids, messages)


def compare(key: str, ids: list[bytes], messages: Mapping[bytes, bytes]) -> Arrived:
    """Compare a queue's list with its hash: which numbers there are, and which ids and messages have lost each other."""
    orphans = [f"{key}: {one.decode()} only in the list" for one in set(ids) - messages.keys()]
    orphans += [f"{key}: {one.decode()} only in the hash" for one in messages.keys() - set(ids)]
    decoded = {one: json.loads(message) for one, message in messages.items()}
    for one, message in decoded.items():
        if message["options"]["redis_message_id"] != one.decode():
            orphans.append(f"{key}: {one.decode()} holds the message of another id")
    return Arrived(Counter(_number(decoded[one]) for one in ids if one in decoded), orphans=orphans)


def _number(message: dict[str, Any]) -> int:
    return int(message["args"][0])


def _answer(value: object) -> Any:
    # redis-py types every answer as "now or awaitable"; a synchronous client's is there now.
    return value
