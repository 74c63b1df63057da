"""Encodes a batch as the keys and arguments of `enqueue.lua`, whose header gives their layout."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

from bridge.model.batch import Batch
from bridge.model.column import Column, GatedMessage, gated_messages
from bridge.model.entry_ids import highest_id
from bridge.model.event import OF_A_LOG, Event, OnceByPosition, OnceByXack, OncePerRoute, WriteOnce
from bridge.redis_io.connection import Word, encode_command, encode_word
from bridge.redis_io.keys import (
    dead_letter_books_key,
    dead_letters_key,
    once_key,
    position_key,
    restart_key,
    seen_key,
    sequence_key,
)
from bridge.sink.dead_letters import LetterBounds, encode_letter

#: How long Redis remembers the last number of a batch sequence: longer than most outages, after which a write whose
#: reply was lost is tried again.
_SEQUENCE_LIFETIME_S: Final = 6 * 3600
#: The bytes between an id and a body, by the body's size, for bodies smaller than _SMALL.
_SMALL: Final = 2048
_SIZES: Final = [b"\r\n$%d\r\n" % size for size in range(_SMALL)]
#: Consecutive events with the same condition; of a stream in this Redis, all delivered again, or none.
_Run = tuple[WriteOnce | None, list[Event]]
_redelivered = attrgetter("redelivered")


class ScriptArguments:
    """The keys and values of one call of the script, encoded here: redis-py's encoder takes longer than all the rest.

    `size` is the size of the last command, in bytes.
    """

    def __init__(self, namespace: str, bounds: LetterBounds, batch: Batch, number: int) -> None:
        self.size = 0
        self._namespace = namespace
        self._keys: list[Word] = [sequence_key(namespace, batch.sequence.name), dead_letters_key(namespace)]
        for queue in batch.queues:
            self._keys += (f"{namespace}:{queue}", f"{namespace}:{queue}.msgs")
        self._values: list[bytes] = []
        self._count = 0
        self._add(number, _SEQUENCE_LIFETIME_S, len(batch.dead_letters), len(batch.queues))
        conditions = [event.write_once for event in batch.events]
        conditional = any(conditions)
        runs = _runs(batch.events, conditions) if conditional else []
        self._logs: dict[str, int] = {}
        self._add_logs(runs)
        gated = gated_messages(batch.queues.values())
        self._add(len(runs) + bool(gated))
        for condition, events in runs:
            again = events[0].redelivered
            self._add_condition(condition, [event.deduplication_key for event in events], again=again)
        routes = list({name: None for column in batch.queues.values() for name in column.routes})
        numbers = {name: number for number, name in enumerate(routes, 1)}
        if gated:
            self._add_gates(gated, list(batch.queues.values()), numbers)
        self._add(len(routes), *map(route_word, routes))
        for column in batch.queues.values():
            self._add_column(column, numbers, conditional=conditional)
        for event_index, letter in batch.dead_letters:
            fields = encode_letter(letter, bounds.max_bytes)
            self._add(event_index, route_word(letter.route), len(fields) // 2, *fields)
        if batch.dead_letters:
            self._add(dead_letter_books_key(namespace), bounds.max_length, bounds.max_bytes, bounds.max_age_ms)

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
        """Add the keys of each log, and the position behind its events."""
        logs: dict[str, list[Event]] = {}
        for condition, events in runs:
            if isinstance(condition, OF_A_LOG):
                known = logs.get(condition.log)
                logs[condition.log] = events if known is None else known + events
        for number, log in enumerate(logs, 1):
            self._logs[log] = number
            self._keys += (position_key(self._namespace, log), restart_key(self._namespace, log))
        self._add(len(logs), *map(_position, logs.values()))

    def _add_condition(self, condition: WriteOnce | None, keys: list[bytes], *, again: bool) -> None:
        first = len(self._keys) + 1
        if condition is None:
            self._add("-", len(keys))
        elif isinstance(condition, OnceByXack):
            self._keys.append(condition.stream)
            self._add("a", len(keys), first, condition.group, self._logs[condition.log])
            self._add(seen_key(self._namespace, condition.prefix), condition.lifetime_ms, int(again))
            self._add_ids(keys)
        elif isinstance(condition, OnceByPosition):
            self._add("p", len(keys), self._logs[condition.log])
            self._add_ids(keys)
        else:
            prefix = seen_key(self._namespace, condition.prefix).encode()
            self._keys += [prefix + key for key in keys]
            kind = "r" if isinstance(condition, OncePerRoute) else "s"
            self._add(kind, len(keys), first, condition.lifetime_ms)

    def _add_gates(self, gated: Sequence[GatedMessage], columns: Sequence[Column], routes: dict[str, int]) -> None:
        first, prefixes, series = len(self._keys) + 1, dict[str, bytes](), list[_Series]()
        for message in gated:
            gate, of_column = message.gate, columns[message.column - 1].routes
            prefix = prefixes.get(gate.rule.route)
            if prefix is None:
                prefix = prefixes[gate.rule.route] = once_key(self._namespace, gate.rule.route).encode()
            self._keys.append(prefix + gate.key)
            route = routes[of_column[message.place]] if of_column else 0
            if not (series and series[-1].take(message, route)):
                series.append(_Series(message, route))
        self._add("k", len(series), first, *map(str, series))

    def _add_ids(self, ids: list[bytes]) -> None:
        self._count += len(ids)
        self._values += [b"$%d\r\n%b\r\n" % (len(entry_id), entry_id) for entry_id in ids]

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


class _Series:
    """Messages with keys of their own that follow one another: in their queue, and by one event, or each by the next event."""

    __slots__ = ("_count", "_first", "_key", "_step")

    def __init__(self, first: GatedMessage, route: int) -> None:
        self._first, self._key = first, (first.column, route, first.gate.rule.lifetime_ms)
        self._count, self._step = 1, 0

    def take(self, message: GatedMessage, route: int) -> bool:
        """Tell whether a message is the next one, and take it if so."""
        first, count = self._first, self._count
        if count == 1:
            self._step = min(message.event_index - first.event_index, 1)
        is_next = (
            message.place == first.place + count
            and message.event_index == first.event_index + count * self._step
            and (message.column, route, message.gate.rule.lifetime_ms) == self._key
        )
        self._count += is_next
        return is_next

    def __str__(self) -> str:
        (column, route, lifetime), first = self._key, self._first
        return f"{self._count} {column} {first.place} {first.event_index} {self._step} {route} {lifetime}"


class FenceArguments:
    """The key and values of a call that fences a batch: Redis then never writes the whole, however late its data arrive."""

    def __init__(self, namespace: str, batch: Batch) -> None:
        number = batch.assign_number()
        first = batch.merged[0][0] if batch.merged else number
        self._words: list[Word] = [1, sequence_key(namespace, batch.sequence.name)]
        self._words += (number, _SEQUENCE_LIFETIME_S, first)

    def command(self, name: str, script: str) -> bytes:
        """See `ScriptArguments`."""
        return encode_command(name, script, *self._words)


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


def _position(events: Sequence[Event]) -> bytes:
    """Return where the reader of a log goes on: from an offset, or behind the highest id."""
    if isinstance(events[0].write_once, OnceByPosition):
        return b"%d" % (int(events[-1].deduplication_key) + 1)
    return highest_id(events)


def route_word(name: str) -> bytes:
    """Return a route's name as the script remembers it."""
    # The script keeps the names of several routes as lines.
    return name.encode("unicode_escape")
