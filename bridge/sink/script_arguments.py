"""A batch as the keys and arguments of `enqueue.lua`, whose header gives their layout."""

from __future__ import annotations

from itertools import groupby
from typing import Final

import msgspec

from bridge.errors import BadEvent
from bridge.model.batch import Batch, Column, DeadLetter
from bridge.model.event import Gate
from bridge.redis_io.connection import Word, packed
from bridge.routing.decoding import plain

#: How long a writer's last number is remembered: longer than most outages, and so the retry that follows a lost reply.
_TOKEN_LIFETIME_S = 6 * 3600
#: A dead letter keeps this much of a body; `body_size` tells the whole.
_MAX_KEPT_BODY = 256 * 1024
#: What stands between an id and a body that is smaller than _SMALL.
_SMALL: Final = 2048
_SIZES: Final = [b"\r\n$%d\r\n" % size for size in range(_SMALL)]
_encode = msgspec.json.Encoder().encode


class ScriptArguments:
    """The keys and values of one call of the script, packed: redis-py takes longer for that than all else takes.

    `size` is that of the last command, in bytes.
    """

    def __init__(self, namespace: str, dead_letter_cap: int, batch: Batch, number: int) -> None:
        self.size = 0
        self._namespace = namespace
        self._keys: list[Word] = [f"{namespace}-bridge:batch:{batch.sequence.name}", dead_letters_key(namespace)]
        for queue in batch.queues:
            self._keys += (f"{namespace}:{queue}", f"{namespace}:{queue}.msgs")
        self._values: list[bytes] = []
        self._count = 0
        self._add(number, _TOKEN_LIFETIME_S, dead_letter_cap, len(batch.queues))
        gates = [event.gate for event in batch.events]
        gated = any(gates)
        runs = [(gate, len(list(run))) for gate, run in groupby(gates)] if gated else []
        self._add(len(runs))
        start = 0
        for gate, length in runs:
            self._add_gate(gate, [event.deduplication_key for event in batch.events[start : start + length]])
            start += length
        for column in batch.queues.values():
            self._add_column(column, gated=gated)
        for owner, letter in batch.dead_letters:
            fields = _fields(letter)
            self._add(owner, len(fields) // 2, *fields)

    def command(self, name: str, script: str) -> bytes:
        """Return the whole command: EVALSHA with the script's digest, or EVAL with its text."""
        head = [packed(word) for word in (name, script, len(self._keys), *self._keys)]
        packed_command = b"".join([b"*%d\r\n" % (len(head) + self._count), *head, *self._values])
        self.size = len(packed_command)
        return packed_command

    def _add(self, *values: Word) -> None:
        self._count += len(values)
        self._values += map(packed, values)

    def _add_gate(self, gate: Gate | None, identities: list[bytes]) -> None:
        first = len(self._keys) + 1
        if gate is None:
            self._add("-", len(identities))
        elif gate.kind == "ack":
            self._keys.append(gate.key)
            self._add("a", len(identities), first, gate.group)
            self._count += len(identities)
            self._values += [b"$%d\r\n%b\r\n" % (len(entry_id), entry_id) for entry_id in identities]
        else:
            key = f"{self._namespace}-bridge:seen:{gate.key}".encode()
            self._keys += [key + identity for identity in identities]
            self._add("s", len(identities), first, gate.lifetime_ms)

    def _add_column(self, column: Column, *, gated: bool) -> None:
        # Whose message each one is matters only where an event may turn out to have been written before.
        in_line = not gated or column.event_indexes == list(range(len(column.event_indexes)))
        self._add(len(column.messages), "" if in_line else " ".join(map(str, column.event_indexes)))
        self._count += 2 * len(column.messages)
        values = self._values
        for redis_id, body in column.messages:
            size = len(body)
            values += (b"$36\r\n", redis_id, _SIZES[size] if size < _SMALL else b"\r\n$%d\r\n" % size, body, b"\r\n")


def dead_letters_key(namespace: str) -> str:
    """Return the key of the stream that holds the dead letters."""
    return f"{namespace}-bridge:dead-letters"


def _fields(letter: DeadLetter) -> list[Word]:
    event = letter.event
    fields: list[Word] = ["reason", letter.reason, "error", letter.detail, "source", event.source]
    fields += ("route", letter.route, "topic", event.topic, "received_at", event.received_at_ms)
    fields += ("headers", _headers(letter), "body_size", len(event.body), "body", event.body[:_MAX_KEPT_BODY])
    return [_utf8(value) if isinstance(value, str) else value for value in fields]


def _headers(letter: DeadLetter) -> bytes:
    try:
        headers, _ = letter.event.details()
        return _encode(plain(dict(headers)))
    except (ValueError, UnicodeEncodeError, BadEvent):
        return b"{}"  # the letter matters more than headers that can't be read, or that JSON can't hold


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
