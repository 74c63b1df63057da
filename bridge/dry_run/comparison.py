"""Compares the messages that a test expects with those that the routes make, and spells out each difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from bridge.config.cases import ExpectedMessage
from bridge.dry_run.runs import RouteResult
from bridge.dry_run.wording import shown

_KINDS: Final[dict[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "a whole number",
    float: "a fraction",
    str: "text",
    list: "a list",
    dict: "a mapping",
}
_FIELDS: Final = ("route", "actor", "queue", "args", "kwargs", "options", "delay")

Fields = dict[str, Any]


def message_fields(result: RouteResult, now_ms: int) -> Fields:
    """Return a route's message in the words of `tests:`; durations are milliseconds."""
    message = result.message or {}
    options = {name: value for name, value in message["options"].items() if name not in {"redis_message_id", "eta"}}
    eta = message["options"].get("eta")
    return {
        "route": result.route,
        "actor": message["actor_name"],
        "queue": message["queue_name"].removesuffix(".DQ"),
        "args": message["args"],
        "kwargs": message["kwargs"],
        "options": options,
        "delay": None if eta is None else eta - now_ms,
    }


def compare(expected: Sequence[ExpectedMessage], made: Sequence[Fields]) -> list[str]:
    """Return every difference, one line each; none where each message is expected, and each expected one was made."""
    wanted = [_given(one) for one in expected]
    pairs = list(_paired(wanted, made))
    lines = [line for want, got in pairs if want is not None and got is not None for line in _differences(want, got)]
    lines += [f"missing: {_line(want)}" for want, got in pairs if want is not None and got is None]
    lines += [f"not expected: {_line(got)}" for want, got in pairs if want is None and got is not None]
    return lines


def _given(expected: ExpectedMessage) -> Fields:
    return {name: getattr(expected, name) for name in _FIELDS if name in expected.model_fields_set}


def _paired(wanted: list[Fields], made: Sequence[Fields]) -> Iterator[tuple[Fields | None, Fields | None]]:
    """Pair each expected message with one that was made: an equal one, or else one of the same route or actor.

    The messages of a route keep their order.
    """
    left = list(made)
    unmet = []
    for want in wanted:
        equal = next((got for got in left if not list(_differences(want, got))), None)
        if equal is None:
            unmet.append(want)
        else:
            left.remove(equal)
            yield want, equal
    for want in unmet:
        alike = next((got for name in ("route", "actor") for got in left if want.get(name) == got[name]), None)
        if alike is None and not want.keys() & {"route", "actor"} and left:
            alike = left[0]
        if alike is not None:
            left.remove(alike)
        yield want, alike
    for got in left:
        yield None, got


def _differences(want: Fields, got: Fields) -> Iterator[str]:
    for name, value in want.items():
        yield from _values(name, value, got[name])


def _values(path: str, want: Any, got: Any) -> Iterator[str]:
    """Yield where two values differ; 1, 1.0, true and "1" are four values."""
    if type(want) is type(got) and isinstance(want, (dict, list)):
        wanted, found = _by_place(path, want), _by_place(path, got)
        for place in dict.fromkeys([*wanted, *found]):
            if place not in found:
                yield f"{place}: expected {_typed(wanted[place])}, the message does not have it"
            elif place not in wanted:
                yield f"{place}: not expected, the message has {_typed(found[place])}"
            else:
                yield from _values(place, wanted[place], found[place])
    elif type(want) is not type(got) or want != got:
        yield f"{path}: expected {_typed(want)}, the message has {_typed(got)}"


def _by_place(path: str, value: Any) -> Fields:
    if isinstance(value, dict):
        return {f"{path}.{key}": item for key, item in value.items()}
    return {f"{path}[{index}]": item for index, item in enumerate(value)}


def _typed(value: object) -> str:
    kind = _KINDS.get(type(value), type(value).__name__)
    return kind if value is None else f"{shown(value)} ({kind})"


def _line(fields: Fields) -> str:
    return ", ".join(f"{name}: {shown(value)}" for name, value in fields.items() if value not in (None, {}, []))
