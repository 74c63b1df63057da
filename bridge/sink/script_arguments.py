"""Encodes a batch as the keys and arguments of `enqueue.lua`, whose header gives their layout."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

import msgspec

from bridge.errors import BadEvent
from bridge.model.batch import Batch, Column, DeadLetter
from bridge.model.entry_ids import highest_id
from bridge.model.event import Event, OnceByKey, OnceByXack, OncePerRoute, WriteOnce
from bridge.redis_io.connection import Word, encode_word
from bridge.redis_io.keys import dead_letters_key, position_key, restart_key, seen_key
from bridge.routing.json_types import to_json_types

#: How long Redis remembers the last number of a batch sequence: longer than most outages, after which a write whose
#: reply was lost is tried again.
_SEQUENCE_LIFETIME_S: Final = 6 * 3600
#: A dead letter keeps at most so many bytes of a body; `body_size` tells the size of the whole.
_MAX_DEAD_LETTER_BODY: Final = 256 * 1024
_MAX_CAUSE: Final = 300
#: The version of a dead letter's fields: a later one may add fields, and changes none.
DEAD_LETTER_VERSION: Final = 1
#: The bytes between an id and a body, by the body's size, for bodies smaller than _SMALL.
_SMALL: Final = 2048
_SIZES: Final = [b"\r\n$%d\r\n" % size for size in range(_SMALL)]
#: Consecutive events with the same condition; of a stream in this Redis, all delivered again, or none.
_Run = tuple[WriteOnce | None, list[Event]]
_encode = msgspec.json.Encoder().encode
_redelivered = attrgetter("redelivered")


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
        self._logs: dict[str, int] = {}
        self._add_logs(runs)
        self._add(len(runs))
        for condition, events in runs:
            again = events[0].redelivered
            self._add_condition(condition, [event.deduplication_key for event in events], again=again)
        routes = list({name: None for column in batch.queues.values() for name in column.routes})
        self._add(len(routes), *map(_route_word, routes))
        numbers = {name: number for number, name in enumerate(routes, 1)}
        for column in batch.queues.values():
            self._add_column(column, numbers, conditional=conditional)
        for event_index, letter in batch.dead_letters:
            fields = _fields(letter)
            self._add(event_index, _route_word(letter.route), len(fields) // 2, *fields)

    def command(self, name: str, script: str) -> bytes:
        """Return the whole command: EVALSHA with the script's digest, or EVAL with its text."""
        head = [encode_word(word) for word in (name, script, len(self._keys), *self._keys)]
        encoded_command = b"".join([b"*%d\r\n" % (len(head) + self._count), *head, *self._values])
        self.size = len(encoded_command)
        return encoded_command

    def _add(self, *values: Word) -> None:
        self._count += len(values)
        self._values += map(encode_word, values)

    def _add_logs(self, runs: Sequence[_Run]) -> None:
        """Add the keys of each log, and the highest id of its events."""
        logs: dict[str, list[Event]] = {}
        for condition, events in runs:
            if isinstance(condition, (OnceByXack, OnceByKey)):
                known = logs.get(condition.log)
                logs[condition.log] = events if known is None else known + events
        for number, log in enumerate(logs, 1):
            self._logs[log] = number
            self._keys += (position_key(self._namespace, log), restart_key(self._namespace, log))
        self._add(len(logs), *map(highest_id, logs.values()))

    def _add_condition(self, condition: WriteOnce | None, keys: list[bytes], *, again: bool) -> None:
        first = len(self._keys) + 1
        if condition is None:
            self._add("-", len(keys))
        elif isinstance(condition, OnceByXack):
            self._keys.append(condition.stream)
            self._add("a", len(keys), first, condition.group, self._logs[condition.log])
            self._add(seen_key(self._namespace, condition.prefix), condition.lifetime_ms, int(again))
            self._count += len(keys)
            self._values += [b"$%d\r\n%b\r\n" % (len(entry_id), entry_id) for entry_id in keys]
        else:
            prefix = seen_key(self._namespace, condition.prefix).encode()
            self._keys += [prefix + key for key in keys]
            kind = "r" if isinstance(condition, OncePerRoute) else "s"
            self._add(kind, len(keys), first, condition.lifetime_ms)

    def _add_column(self, column: Column, routes: dict[str, int], *, conditional: bool) -> None:
        # The script needs each message's event only to leave out events that were written before.
        in_line = not conditional or column.event_indexes == list(range(len(column.event_indexes)))
        self._add(len(column.messages), "" if in_line else " ".join(map(str, column.event_indexes)))
        self._add(" ".join([str(routes[name]) for name in column.routes]))
        self._count += 2 * len(column.messages)
        values = self._values
        for redis_id, body in column.messages:
            size = len(body)
            values += (b"$36\r\n", redis_id, _SIZES[size] if size < _SMALL else b"\r\n$%d\r\n" % size, body, b"\r\n")


def _runs(events: list[Event], conditions: list[WriteOnce | None]) -> list[_Run]:
    runs: list[_Run] = []
    start = 0
    for condition, run in groupby(conditions):
        stop = start + len(list(run))
        of_run, start = events[start:stop], stop
        if isinstance(condition, OnceByXack) and True in [event.redelivered for event in of_run]:
            runs += [(condition, list(part)) for _, part in groupby(of_run, _redelivered)]
        else:
            runs.append((condition, of_run))
    return runs


def _route_word(name: str) -> bytes:
    # The script keeps the names of several routes as lines.
    return name.encode("unicode_escape")


def _fields(letter: DeadLetter) -> list[Word]:
    event = letter.event
    is_cut = len(event.body) > _MAX_DEAD_LETTER_BODY
    fields: list[Word] = ["version", DEAD_LETTER_VERSION, "reason", letter.reason, "error", letter.detail]
    fields += ("source", event.source, "route", letter.route, "topic", event.topic, "received_at", event.received_at_ms)
    fields += (*_details(event), "body_size", len(event.body), "body_cut", int(is_cut))
    fields += ("body", event.body[:_MAX_DEAD_LETTER_BODY])
    return [_utf8(value) if isinstance(value, str) else value for value in fields]


def _details(event: Event) -> list[Word]:
    """Return headers and meta as JSON; `details_error` says why there are none."""
    try:
        headers, meta = event.details()
        known = {name: value for name, value in meta.items() if value is not None}
        return ["headers", _encode(to_json_types(dict(headers))), "meta", _encode(to_json_types(known))]
    except (ValueError, UnicodeEncodeError, BadEvent) as error:
        # A dead letter without headers is better than none: they can't be read, or JSON can't hold them.
        cause = error.detail if isinstance(error, BadEvent) else str(error)
        return ["headers", b"{}", "meta", b"{}", "details_error", cause[:_MAX_CAUSE]]


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
