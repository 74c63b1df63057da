"""Encodes a batch as the keys and arguments of `enqueue.lua`, whose header gives their layout."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

import msgspec

from bridge.errors import BadEvent
from bridge.model.batch import Batch, Column, DeadLetter
from bridge.model.event import Event, OnceByXack, WriteOnce
from bridge.redis_io.connection import Word, encode_word
from bridge.redis_io.keys import dead_letters_key, positions_key, restarts_key, seen_key
from bridge.routing.decoding import to_json_types

#: How long Redis remembers the last number of a batch sequence: longer than most outages, after which a write whose
#: reply was lost is tried again.
_SEQUENCE_LIFETIME_S: Final = 6 * 3600
#: A dead letter keeps at most so many bytes of a body; `body_size` tells the size of the whole.
_MAX_DEAD_LETTER_BODY: Final = 256 * 1024
#: The bytes between an id and a body, by the body's size, for bodies smaller than _SMALL.
_SMALL: Final = 2048
_SIZES: Final = [b"\r\n$%d\r\n" % size for size in range(_SMALL)]
#: Consecutive events with the same condition.
_Run = tuple[WriteOnce | None, list[Event]]
_encode = msgspec.json.Encoder().encode


class ScriptArguments:
    """The keys and values of one call of the script, encoded here: redis-py's encoder takes longer than all the rest.

    `size` is the size of the last command, in bytes.
    """

    def __init__(self, namespace: str, dead_letter_cap: int, batch: Batch, number: int) -> None:
        self.size = 0
        self._namespace = namespace
        self._keys: list[Word] = [f"{namespace}-bridge:batch:{batch.sequence.name}", dead_letters_key(namespace)]
        for queue in batch.queues:
            self._keys += (f"{namespace}:{queue}", f"{namespace}:{queue}.msgs")
        self._values: list[bytes] = []
        self._count = 0
        self._add(number, _SEQUENCE_LIFETIME_S, dead_letter_cap, len(batch.queues))
        conditions = [event.write_once for event in batch.events]
        conditional = any(conditions)
        runs = _runs(batch.events, conditions) if conditional else []
        self._add_positions(runs)
        self._add(len(runs))
        for condition, events in runs:
            self._add_condition(condition, [event.deduplication_key for event in events])
        for column in batch.queues.values():
            self._add_column(column, conditional=conditional)
        for event_index, letter in batch.dead_letters:
            fields = _fields(letter)
            self._add(event_index, len(fields) // 2, *fields)

    def command(self, name: str, script: str) -> bytes:
        """Return the whole command: EVALSHA with the script's digest, or EVAL with its text."""
        head = [encode_word(word) for word in (name, script, len(self._keys), *self._keys)]
        encoded_command = b"".join([b"*%d\r\n" % (len(head) + self._count), *head, *self._values])
        self.size = len(encoded_command)
        return encoded_command

    def _add(self, *values: Word) -> None:
        self._count += len(values)
        self._values += map(encode_word, values)

    def _add_positions(self, runs: Sequence[_Run]) -> None:
        """Add the id of the last event of each log; runs of one log follow in the order of its ids."""
        positions = {run.position: _last_id(events) for run, events in runs if run is not None and run.position}
        if positions:
            self._keys += (positions_key(self._namespace), restarts_key(self._namespace))
        self._add(len(positions))
        for field, last_id in positions.items():
            self._add(field, last_id)

    def _add_condition(self, condition: WriteOnce | None, keys: list[bytes]) -> None:
        first = len(self._keys) + 1
        if condition is None:
            self._add("-", len(keys))
        elif isinstance(condition, OnceByXack):
            self._keys.append(condition.stream)
            self._add("a", len(keys), first, condition.group, condition.position)
            self._add(seen_key(self._namespace, condition.prefix), condition.lifetime_ms)
            self._count += len(keys)
            self._values += [b"$%d\r\n%b\r\n" % (len(entry_id), entry_id) for entry_id in keys]
        else:
            prefix = seen_key(self._namespace, condition.prefix).encode()
            self._keys += [prefix + key for key in keys]
            self._add("s", len(keys), first, condition.lifetime_ms)

    def _add_column(self, column: Column, *, conditional: bool) -> None:
        # The script needs each message's event only to leave out events that were written before.
        in_line = not conditional or column.event_indexes == list(range(len(column.event_indexes)))
        self._add(len(column.messages), "" if in_line else " ".join(map(str, column.event_indexes)))
        self._count += 2 * len(column.messages)
        values = self._values
        for redis_id, body in column.messages:
            size = len(body)
            values += (b"$36\r\n", redis_id, _SIZES[size] if size < _SMALL else b"\r\n$%d\r\n" % size, body, b"\r\n")


def _runs(events: list[Event], conditions: list[WriteOnce | None]) -> list[_Run]:
    runs, start = [], 0
    for condition, run in groupby(conditions):
        stop = start + len(list(run))
        runs.append((condition, events[start:stop]))
        start = stop
    return runs


def _last_id(events: list[Event]) -> bytes:
    # Ids rise, but for those of redelivered events, which are older than all that are new.
    return next((event for event in reversed(events) if not event.redelivered), events[-1]).deduplication_key


def _fields(letter: DeadLetter) -> list[Word]:
    event = letter.event
    fields: list[Word] = ["reason", letter.reason, "error", letter.detail, "source", event.source]
    fields += ("route", letter.route, "topic", event.topic, "received_at", event.received_at_ms)
    fields += ("headers", _headers(letter), "body_size", len(event.body), "body", event.body[:_MAX_DEAD_LETTER_BODY])
    return [_utf8(value) if isinstance(value, str) else value for value in fields]


def _headers(letter: DeadLetter) -> bytes:
    try:
        headers, _ = letter.event.details()
        return _encode(to_json_types(dict(headers)))
    except (ValueError, UnicodeEncodeError, BadEvent):
        return b"{}"  # a dead letter without headers is better than none: they can't be read, or JSON can't hold them


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
