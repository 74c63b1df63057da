"""Dramatiq's message options: which may be set, the values that each takes, and those that would damage a worker.

`check_option` serves twice: at load for the literal values of the configuration, and at run time for the result of an
expression. The table follows Dramatiq 1.17 to 2.2.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from bridge.config.document import INVALID
from bridge.config.dollar import is_expression
from bridge.config.substitution import coerced, unmarked
from bridge.config.units import MAX_MILLISECONDS, parse_duration
from bridge.config.wording import describe, near_miss, quoted
from bridge.errors import Diagnostic, InvalidValue, KeyPath


class Kind(enum.Enum):
    """The kinds of values that options take, in plain words."""

    COUNT = "a whole number"
    COUNT_OR_NULL = "a whole number, or null for ever"
    MILLISECONDS = "milliseconds"
    BOOLEAN = "true or false"
    TEXT = "text"
    ACTOR = "the name of an actor"
    MESSAGE = "one message"
    MESSAGES = "a list of messages"


#: Every option that Dramatiq or its middleware reads from a message.
OPTIONS: Final[dict[str, Kind]] = {
    "max_retries": Kind.COUNT_OR_NULL,
    "min_backoff": Kind.MILLISECONDS,
    "max_backoff": Kind.MILLISECONDS,
    "max_age": Kind.MILLISECONDS,
    "time_limit": Kind.MILLISECONDS,
    "notify_shutdown": Kind.BOOLEAN,
    "on_success": Kind.ACTOR,
    "on_failure": Kind.ACTOR,
    "on_retry_exhausted": Kind.ACTOR,
    "pipe_target": Kind.MESSAGE,
    "pipe_ignore": Kind.BOOLEAN,
    "delay": Kind.MILLISECONDS,
    "group_completion_uuid": Kind.TEXT,
    "group_completion_callbacks": Kind.MESSAGES,
    "store_results": Kind.BOOLEAN,
    "result_ttl": Kind.MILLISECONDS,
    "broker_priority": Kind.COUNT,
}

#: Options that are never written, each with the reason.
REFUSED_OPTIONS: Final[dict[str, str]] = {
    "retries": "Dramatiq counts retries in it itself; to limit them, use max_retries",
    "traceback": "Dramatiq writes it itself when an actor fails",
    "requeue_timestamp": "Dramatiq writes it itself when a message is queued again",
    "retry_when": "it takes a function, which a message cannot carry; set it on the actor",
    "throws": "it takes exception classes, and kills a worker's thread otherwise; set it on the actor",
    "redis_message_id": "it is made new for every message; a wrong one is never acknowledged",
    "message_id": "it is made new for every message",
    "message_timestamp": "it is the time of the write",
    "eta": "write delay: or eta: beside options:, where a route has them",
}

_QUEUE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]*")
_MESSAGE_KEYS: Final = ("queue_name", "actor_name", "args", "kwargs", "options")
#: A pipeline deeper than this is a mistake, and its JSON would be too deep for a worker.
_MAX_PIPELINE: Final = 16

_Report = list[Diagnostic]


def check_queue_name(text: object) -> str:
    """Return the queue's name. Raises InvalidValue for a name that would harm a worker."""
    if not isinstance(text, str):
        raise InvalidValue(f"takes the name of a queue, not {describe(text)}")
    if text.startswith("$"):
        raise InvalidValue("takes the name of a queue, no expression: that would let anyone write to any queue")
    if text.startswith("__"):
        raise InvalidValue("a queue's name cannot begin with __", "Dramatiq keeps its own keys under such names")
    if not _QUEUE.fullmatch(text):
        raise InvalidValue(
            "a queue's name is letters, digits, _ and -, and begins with a letter or _",
            "other names, such as x.DQ, damage Dramatiq's own keys",
        )
    return text


def check_actor_name(text: object) -> str:
    """Return the actor's name. Raises InvalidValue for a name that is not written out."""
    if not isinstance(text, str):
        raise InvalidValue(f"takes the name of an actor, not {describe(text)}")
    if text.startswith("$"):
        raise InvalidValue("takes the name of an actor, no expression: that would let anyone call any actor")
    if not text or text != text.strip() or not text.isprintable():
        raise InvalidValue("takes the name of an actor", "text without spaces around it, as in send_email")
    return text


def check_option(name: str, value: object, *, literal: bool) -> object:
    """Return the value of one option as Dramatiq takes it.

    With `literal`, the value is the configuration's: durations are text with a unit and become
    milliseconds, and text that begins with `$` is left for run time. Without, it is the result of
    an expression: durations are whole milliseconds. Raises InvalidValue.
    """
    report: _Report = []
    checked = _option(name, value, (), report, literal=literal)
    if report:
        raise InvalidValue.of(report)
    return checked


def check_options(options: object) -> dict[str, object]:
    """Return a route's literal options, checked. Raises InvalidValue with every mistake in them."""
    if not isinstance(options, dict):
        raise InvalidValue(f"takes a mapping of options, not {describe(options)}", "as in {max_retries: 5}")
    report: _Report = []
    checked: dict[str, object] = {}
    for name, value in options.items():
        if name == "delay":
            message, hint = "delay is not an option of a route's message", "write delay: beside options:"
            report.append(Diagnostic((name,), message, hint, at_key=True))
        else:
            checked[name] = unmarked(_option(name, value, (name,), report, literal=True))
    if report:
        raise InvalidValue.of(report)
    return checked


def _option(name: str, value: object, path: KeyPath, report: _Report, *, literal: bool) -> object:
    if name in REFUSED_OPTIONS:
        message = f"the option {name} is never written by a bridge"
        report.append(Diagnostic(path, message, REFUSED_OPTIONS[name], at_key=True))
        return value
    kind = OPTIONS.get(name)
    if kind is None:
        # An unknown option is harmless and may belong to some middleware; a misspelt one is a mistake.
        if literal and (hint := near_miss(name, OPTIONS, 0.8)):
            report.append(Diagnostic(path, f"unknown option {quoted(name)}", hint, at_key=True))
        return value
    if kind is Kind.MESSAGE:
        return _message(value, path, report, literal=literal)
    if kind is Kind.MESSAGES:
        return _messages(value, path, report, literal=literal)
    if literal and kind is not Kind.ACTOR and isinstance(value, str) and value.startswith("$"):
        return value
    if kind is Kind.MILLISECONDS:
        return _part(parse_duration if literal else _milliseconds, value, path, report)
    return _part(_CHECKS[kind], coerced(value), path, report)


def _part(check: Callable[[object], object], value: object, path: KeyPath, report: _Report) -> object:
    if value is INVALID:
        return value
    try:
        return check(value)
    except InvalidValue as error:
        report.extend(diagnostic.below(path) for diagnostic in error.diagnostics)
        return value


def _count(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63:
        return value
    shown = describe(value)
    raise InvalidValue(f"takes a whole number from 0{'' if shown == 'a number' else f', not {shown}'}")


def _count_or_null(value: object) -> object:
    return None if value is None else _count(value)


def _milliseconds(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_MILLISECONDS:
        return value
    hint = "int(...) makes one of a fraction" if isinstance(value, float) else ""
    raise InvalidValue(f"takes whole milliseconds from 0 to {MAX_MILLISECONDS}", hint)


def _boolean(value: object) -> object:
    if isinstance(value, bool):
        return value
    raise InvalidValue(f"takes true or false, not {describe(value)}")


def _text(value: object) -> object:
    if isinstance(value, str) and value:
        return value
    raise InvalidValue("takes text that is not empty" if value == "" else f"takes text, not {describe(value)}")


_CHECKS: Final[dict[Kind, Callable[[object], object]]] = {
    Kind.COUNT: _count,
    Kind.COUNT_OR_NULL: _count_or_null,
    Kind.BOOLEAN: _boolean,
    Kind.TEXT: _text,
    Kind.ACTOR: check_actor_name,
}


def _messages(value: object, path: KeyPath, report: _Report, *, literal: bool) -> object:
    if isinstance(value, list):
        return [_message(item, (*path, index), report, literal=literal) for index, item in enumerate(value)]
    if value is not INVALID:
        report.append(Diagnostic(path, f"takes a list of messages written out, not {describe(value)}"))
    return value


def _message(value: object, path: KeyPath, report: _Report, *, literal: bool) -> object:
    """Return one message with its defaults filled in: it is another task, so its actor is no expression."""
    if isinstance(value, dict) and len(path) <= 2 * _MAX_PIPELINE:
        return _filled(value, path, report, literal=literal)
    if value is INVALID:
        return value
    if isinstance(value, list):
        report.append(Diagnostic(path, "takes one message, not a list", "a list stops the pipeline without a word"))
    elif isinstance(value, dict):
        report.append(Diagnostic(path, "this pipeline is too long"))
    else:
        from_payload = isinstance(value, str) and value.startswith("$")
        hint = "an expression would let anyone call any actor" if from_payload else ""
        report.append(Diagnostic(path, f"takes a message written out as a mapping, not {describe(value)}", hint))
    return value


def _filled(value: dict[str, object], path: KeyPath, report: _Report, *, literal: bool) -> dict[str, object]:
    for key in value:
        if key not in _MESSAGE_KEYS:
            hint = near_miss(str(key), _MESSAGE_KEYS) or f"a message has {', '.join(_MESSAGE_KEYS)}"
            report.append(Diagnostic((*path, key), f"unknown key {quoted(str(key))}", hint, at_key=True))
    if "actor_name" not in value:
        message, hint = "the key 'actor_name' is missing", "add actor_name: the actor of this step"
        report.append(Diagnostic(path, message, hint, at_key=True))
    parts = {
        "actor_name": _part(check_actor_name, value.get("actor_name", INVALID), (*path, "actor_name"), report),
    }
    if "queue_name" in value:
        parts["queue_name"] = _part(check_queue_name, value["queue_name"], (*path, "queue_name"), report)
    for key, expected, default in (("args", list, []), ("kwargs", dict, {})):
        part = parts[key] = value.get(key, default)
        later = literal and is_expression(part)
        if not isinstance(part, expected) and not later and part is not INVALID:
            report.append(Diagnostic((*path, key), f"takes {describe(default)}, not {describe(part)}"))
    parts["options"] = options = value.get("options", {})
    if isinstance(options, dict):
        inner = (*path, "options")
        parts["options"] = {
            name: _option(name, item, (*inner, name), report, literal=literal) for name, item in options.items()
        }
    elif options is not INVALID:
        report.append(Diagnostic((*path, "options"), f"takes a mapping of options, not {describe(options)}"))
    return parts


def with_queues(options: Mapping[str, Any], queues: Mapping[str, str]) -> dict[str, Any]:
    """Return checked options in which each message of a pipeline has a queue: its actor's in `queues`, or default."""

    def complete(message: Mapping[str, Any]) -> dict[str, Any]:
        queue = message.get("queue_name") or queues.get(message["actor_name"], "default")
        return {**message, "queue_name": queue, "options": with_queues(message["options"], queues)}

    return each_message(options, complete)


def each_message(options: Mapping[str, Any], change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Return checked options in which `change` has changed each message that they hold."""
    changed = dict(options)
    for name, value in options.items():
        if OPTIONS.get(name) is Kind.MESSAGE:
            changed[name] = change(value)
        elif OPTIONS.get(name) is Kind.MESSAGES:
            changed[name] = [change(message) for message in value]
    return changed
