"""A batch as the keys and arguments of `enqueue.lua`, whose header gives their layout."""

from __future__ import annotations

import msgspec

from bridge.batch import Batch, DeadLetter
from bridge.codecs import plain
from bridge.event import Gate
from bridge.message import Message

#: How long a writer's last number is remembered: longer than any retry that follows a lost reply.
_TOKEN_LIFETIME_S = 900
#: A dead letter keeps this much of a body; `body_size` tells the whole.
_MAX_KEPT_BODY = 256 * 1024
_encode = msgspec.json.Encoder().encode

Argument = str | bytes | int


class ScriptArguments:
    """`keys` and `values` of one call of the script."""

    def __init__(self, namespace: str, dead_letter_cap: int, batch: Batch, number: int) -> None:
        self._namespace = namespace
        self._queues: dict[str, int] = {}
        self._gate_keys: dict[str, int] = {}
        entries: list[Argument] = []
        free: list[Message] = []
        free_letters: list[DeadLetter] = []
        for entry in batch.entries:
            if entry.gate is not None:
                self._add(entries, entry.gate, entry.messages, entry.dead_letters)
            else:
                free += entry.messages
                free_letters += entry.dead_letters
        if free or free_letters:
            self._add(entries, None, free, free_letters)
        self.keys: list[str] = [f"{namespace}-bridge:batch:{batch.writer.name}", dead_letters_key(namespace)]
        for queue in self._queues:
            self.keys += (f"{namespace}:{queue}", f"{namespace}:{queue}.msgs")
        self.keys += self._gate_keys
        self.values: list[Argument] = [
            number,
            _TOKEN_LIFETIME_S,
            dead_letter_cap,
            len(self._queues),
            *entries,
        ]

    def _add(
        self, values: list[Argument], gate: Gate | None, messages: list[Message], letters: list[DeadLetter]
    ) -> None:
        if gate is None:
            values.append("-")
        elif gate[0] == "ack":
            values += ("a", self._gate_key(gate[1]), gate[2], gate[3])
        else:
            values += ("s", self._gate_key(f"{self._namespace}-bridge:seen:{gate[1]}"), gate[2])
        by_queue: dict[str, list[Argument]] = {}
        for message in messages:
            pairs = by_queue.get(message.queue)
            if pairs is None:
                pairs = by_queue[message.queue] = []
            pairs += (message.id, message.body)
        values.append(len(by_queue))
        for queue, pairs in by_queue.items():
            number = self._queues.setdefault(queue, len(self._queues) + 1)
            values += (number, len(pairs) // 2)
            values += pairs
        values.append(len(letters))
        for letter in letters:
            fields = _fields(letter)
            values.append(len(fields) // 2)
            values += fields

    def _gate_key(self, key: str) -> int:
        return self._gate_keys.setdefault(key, len(self._gate_keys) + 1)


def dead_letters_key(namespace: str) -> str:
    """Return the key of the stream that holds the dead letters."""
    return f"{namespace}-bridge:dead-letters"


def _fields(letter: DeadLetter) -> list[Argument]:
    event = letter.event
    fields: list[Argument] = ["reason", letter.reason, "error", letter.detail, "source", event.source]
    fields += ("route", letter.route, "topic", event.topic, "received_at", event.received_at_ms)
    fields += ("headers", _headers(letter), "body_size", len(event.body), "body", event.body[:_MAX_KEPT_BODY])
    return [_utf8(value) if isinstance(value, str) else value for value in fields]


def _headers(letter: DeadLetter) -> bytes:
    try:
        return _encode(plain(dict(letter.event.headers)))
    except (ValueError, UnicodeEncodeError):
        return b"{}"  # the letter matters more than headers that JSON can't hold


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
