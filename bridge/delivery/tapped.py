"""One event of a tap, as a line of JSON: its ids, what became of it, its messages, and why each route took it or did not.

It runs the event once more through routes of its own, as `event_log` does. Values of events stand in it only where the tap
may see contents, and never those that `dead_letters.redact` keeps out of dead letters.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec

from bridge.config import Config
from bridge.delivery.event_log import event_ids, moment_of
from bridge.delivery.tapped_part import Part
from bridge.dry_run.as_test import as_test
from bridge.dry_run.results import Result
from bridge.dry_run.runs import DryRun
from bridge.errors import BadEvent, InvalidValue, describe_error
from bridge.model.batch import DeadLetter
from bridge.model.event import Event
from bridge.model.taps import TapFilter
from bridge.observe.masking import without_secrets
from bridge.routing.redaction import RedactedEvent, Redaction

#: Of a body, of all headers, and of the arguments of one message, so many bytes are shown at most.
MAX_SHOWN_BYTES: Final = 16 << 10
#: So many messages of an event are shown, and so many routes of those that do not fit.
_MAX_MESSAGES: Final = 20
_MAX_ROUTES: Final = 20
#: A larger body is not decoded once more.
_MAX_RUN: Final = 64 << 10
#: A text that may quote values is cut, in characters.
_MAX_WHY: Final = 1_000
_MAX_TOPIC: Final = 1_024
_NOT_EXPLAINED: Final = frozenset({"poison"})
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


class _Message(msgspec.Struct):
    message_id: str
    actor_name: str
    args: msgspec.Raw
    kwargs: msgspec.Raw


_message: Final = msgspec.json.Decoder(_Message).decode


class TestItem(NamedTuple):
    """An event that is to become a test: the head of its line, and why it can't be one, or ""."""

    line: dict[str, Any]
    event: Event
    cause: str = ""


class TapLines:
    """Makes the lines of the events of one configuration. Compiles its routes: a second of CPU for thousands."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._dry_run = DryRun(config)
        self._redaction = Redaction.of(config)
        masked = config.origin.masked_conditions
        #: The routes into which `${...}` has put values, which may be secrets; and the parts of messages that have them.
        self._hidden = {str(route.name) for route in config.routes if route.hidden or str(route.name) in masked}
        self._hidden_calls: dict[tuple[str, str], frozenset[str]] = {}
        for route in config.routes:
            for call in ((actor, queue) for actor in route.actors for queue in route.queues_of(actor)):
                self._hidden_calls[call] = self._hidden_calls.get(call, frozenset()) | route.hidden
        self._tests = 0
        self._test_run: DryRun | None = None

    def line(self, part: Part, index: int, wanted: TapFilter) -> bytes:
        """Return the line of the event at `index` for a tap, with its line break; taps of the same kind share it."""
        kind = (index, wanted.contents)
        if kind not in part.lines:
            try:
                part.lines[kind] = self._line(part, index, wanted)
            except Exception as error:  # noqa: BLE001 - an event that can't be shown must not end the taps
                part.lines[kind] = _fault(part, index, error)
        return part.lines[kind]

    def _line(self, part: Part, index: int, wanted: TapFilter) -> bytes:
        event, letter = part.batch.events[index], part.letters.get(index)
        if event.body_size > _MAX_RUN:
            return self._large(part, index, wanted)
        redacted = self._redaction.event(event)
        line = _head(part, index, event, redacted)
        runs = self._runs(event, redacted, letter, moment_of(part.batch, index))
        line |= self._explained(part, index, runs, contents=wanted.contents)
        line["messages"] = self._messages(part, index, runs, contents=wanted.contents)
        if letter is not None:
            shown = self._redaction.letter(letter)
            line["dead_letter"] = {"reason": letter.reason, **({"route": letter.route} if letter.route else {})}
            if wanted.contents and letter.route not in self._hidden:
                line["dead_letter"]["detail"] = _text(shown.detail)
        if wanted.contents:
            line |= _contents(redacted)
        return _encode(line) + b"\n"

    def _large(self, part: Part, index: int, wanted: TapFilter) -> bytes:
        """Return the line of an event that takes too long to be decoded once more."""
        event = part.batch.events[index]
        line = self._head_of_large(part, index) | {"cause": "it is too large to be run again"}
        line["messages"] = self._messages(part, index, line["cause"], contents=wanted.contents)
        if (letter := part.letters.get(index)) is not None:
            line["dead_letter"] = {"reason": letter.reason}
        if wanted.contents:
            line |= {"redacted": ["payload", "headers", "meta"]} if self._redaction.is_on else _contents(event)
        return _encode(line) + b"\n"

    def _head_of_large(self, part: Part, index: int) -> dict[str, Any]:
        """Return the head of the line of an event from which no fields are removed: its ids may be among them."""
        return _head(part, index, part.batch.events[index], None if self._redaction.is_on else part.batch.events[index])

    def test_item(self, part: Part, index: int) -> TestItem:
        """Return an event for `test`."""
        event, letter = part.batch.events[index], part.letters.get(index)
        is_poison = letter is not None and letter.reason in _NOT_EXPLAINED
        if is_poison or event.body_size > MAX_SHOWN_BYTES:
            cause = "it has ended a process before" if is_poison else f"its body has more than {MAX_SHOWN_BYTES} bytes"
            return TestItem(self._head_of_large(part, index), event, cause)
        redacted = self._redaction.event(event)
        return TestItem(_head(part, index, event, redacted), redacted)

    def test(self, item: TestItem) -> bytes:
        """Return the line of an event as a test; called in one thread at a time, beside the event loop's."""
        line, event, cause = item
        if cause:
            return _encode(line | {"no_test": cause}) + b"\n"
        self._tests += 1
        name = f"tapped {self._tests}: {line['source']} at {line['received_at']}, {line['outcome']}"
        try:
            self._test_run = self._test_run or DryRun(self._config)  # it is none of the event loop's
            made = {"test": as_test(self._config, event, name, self._test_run)}
        except InvalidValue as error:
            made = {"no_test": _text(describe_error(error))}
        except Exception as error:  # noqa: BLE001 - an event that can't be shown must not end the taps
            made = {"no_test": f"a fault of the bridge: {type(error).__name__}"}
        return _encode(line | made) + b"\n"

    def _runs(self, event: Event, redacted: Event, letter: DeadLetter | None, now_ms: int) -> tuple[Result, ...] | str:
        """Run the event, and once more without the fields that are redacted; return why it can't be run instead."""
        if letter is not None and letter.reason in _NOT_EXPLAINED:
            return "it has ended a process before, and is not run again"
        try:
            once = self._dry_run.run(event, now_ms)
            return (once,) if redacted is event else (once, self._dry_run.run(redacted, now_ms))
        except Exception as error:  # noqa: BLE001 - an explanation that fails must not end the bridge
            return _text(f"no explanation: {type(error).__name__}")

    def _explained(self, part: Part, index: int, runs: tuple[Result, ...] | str, *, contents: bool) -> dict[str, Any]:
        if isinstance(runs, str):
            return {"cause": runs}
        written = (part.left_out.result(index, each) for each in runs)
        verdicts, *others = (dict(self._verdicts(each, contents=contents)) for each in written)
        routes: dict[str, dict[str, Any]] = {}
        for name, (verdict, why, left_out) in verdicts.items():
            routes[name] = {"verdict": verdict, **({"deduplicated": left_out} if left_out else {})}
            # Without the redacted fields it is the same: so it does not speak of them.
            if why and all(other.get(name, ())[:2] == (verdict, why) for other in others):
                routes[name]["why"] = why
        cause = "no route's topic fits" if runs[0].unmatched else runs[0].not_brought
        return {"routes": routes, **({"cause": _text(cause)} if cause else {})}

    def _verdicts(self, result: Result, *, contents: bool) -> Iterator[tuple[str, tuple[str, str, int]]]:
        for one in result.routes:
            # It may quote values of the event.
            is_shown = contents and not one.messages and one.route not in self._hidden
            why = _text(one.why) if is_shown else ""
            yield one.route, (one.verdict, why, one.deduplicated)
        # Those that do not fit, of a source of many routes only the first ones.
        for one in islice(result.others(), _MAX_ROUTES):
            yield one.route, (one.verdict, _text(one.why), 0)

    def _messages(
        self, part: Part, index: int, runs: tuple[Result, ...] | str, *, contents: bool
    ) -> list[dict[str, Any]]:
        shown: list[dict[str, Any]] = []
        for queue, body in islice(part.written_messages(index), _MAX_MESSAGES):
            message = _message(body)
            fields: dict[str, Any] = {"id": message.message_id, "actor": message.actor_name, "queue": queue}
            if contents:
                fields |= self._call(message, queue, runs)
            shown.append(fields)
        return shown

    def _call(self, message: _Message, queue: str, runs: tuple[Result, ...] | str) -> dict[str, Any]:
        """Return the arguments of a message; a word instead where they may not be shown."""
        if isinstance(runs, str) and self._redaction.is_on:
            return {"arguments": "redacted"}
        if len(message.args) + len(message.kwargs) > MAX_SHOWN_BYTES:
            return {"arguments": "too large"}
        if len(runs) > 1 and not isinstance(runs, str):
            call = (message.actor_name, msgspec.json.decode(message.args), msgspec.json.decode(message.kwargs))
            same = [(each.message["actor_name"], each.message["args"], each.message["kwargs"])
                    for each in runs[1].messages]  # fmt: skip
            if call not in same:
                return {"arguments": "redacted"}
        hidden = self._hidden_calls.get((message.actor_name, queue.removesuffix(".DQ")), frozenset())
        both = {"args": message.args, "kwargs": message.kwargs}
        return {name: ("***" if name in hidden else value) for name, value in both.items()}


def _head(part: Part, index: int, event: Event, redacted: Event | None) -> dict[str, Any]:
    line: dict[str, Any] = {
        "at": _time(datetime.now(UTC)),
        "received_at": _time(datetime.fromtimestamp(event.received_at_ms / 1000, UTC)),
        "source": event.source,
        "topic": event.topic[:_MAX_TOPIC].encode("utf-8", "backslashreplace").decode(),
        "outcome": part.class_of(index),
    }
    if redacted is not None:
        line |= {name: _text(str(value)) for name, value in event_ids(redacted).items()}
    if index in part.left_out.duplicates:
        line["duplicate"] = True
    if event.redelivered:
        line["redelivered"] = True
    line["body_size"] = event.body_size
    return line


def _fault(part: Part, index: int, error: Exception) -> bytes:
    """Return the line of an event that can't be shown."""
    event = part.batch.events[index]
    cause = f"a fault of the bridge: no line can be made of it: {type(error).__name__}"
    line = {"at": _time(datetime.now(UTC)), "source": event.source, "topic": "", "outcome": part.outcome.value}
    return _encode(line | {"body_size": event.body_size, "cause": cause}) + b"\n"


def _time(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(text: str) -> str:
    """Return a text of somebody else: without secrets, cut, and without lone surrogates."""
    text = without_secrets(text).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _MAX_WHY else f"{text[:_MAX_WHY]}…"


def _contents(event: Event) -> dict[str, Any]:
    """Return the headers, the meta and the body of an event that may be shown."""
    shown: dict[str, Any] = {}
    if isinstance(event, RedactedEvent):
        shown["redacted"] = list(event.redacted)
    try:
        headers, meta = event.details()
    except BadEvent as error:
        shown["headers_error"] = _text(error.detail)
    else:
        for name, values in (("headers", headers), ("meta", {k: v for k, v in meta.items() if v is not None})):
            encoded = _encoded(values)
            shown[name] = encoded if encoded is not None else "too large, or no JSON can hold them"
    return shown | _body(event)


def _encoded(values: Mapping[str, object]) -> msgspec.Raw | None:
    try:
        encoded = _encode(values)
    except (UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError):
        return None
    return msgspec.Raw(encoded) if len(encoded) <= MAX_SHOWN_BYTES else None


def _body(event: Event) -> dict[str, Any]:
    body = event.body[:MAX_SHOWN_BYTES]
    shown: dict[str, Any] = {}
    if len(body) < event.body_size:
        shown["body_cut"] = True
    try:
        shown["body"] = body.decode()
    except UnicodeDecodeError as error:
        # It may have been cut within a character.
        if len(body) < len(event.body) and error.start >= len(body) - 3 and error.reason == "unexpected end of data":
            shown["body"] = body[: error.start].decode()
        else:
            shown["body_base64"] = base64.b64encode(body).decode()
    return shown
