"""Values of a route that no event makes right: an expression whose kind of value its key never takes is a mistake at load."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from bridge.config import Route
from bridge.config.dollar import is_expression
from bridge.config.message_options import OPTIONS, Kind
from bridge.config.target_model import Step
from bridge.config.wording import listed
from bridge.errors import InvalidValue, KeyPath
from bridge.routing.expressions.results import BOOLEAN, LIST, MAPPING, NULL, NUMBER, TEXT, constant_kind, kinds


class _Takes(NamedTuple):
    """The kinds that a key takes, and an example."""

    kinds: tuple[str, ...]
    hint: str


DEDUPLICATION_KEY: Final = _Takes((TEXT, NUMBER), "as in $payload.id")
_LIST: Final = _Takes((LIST,), "as in $payload.lines; a condition is written under when:")
_ARGS: Final = _Takes((LIST,), "as in [$payload.id]")
_KWARGS: Final = _Takes((MAPPING,), "as in {id: $payload.id}")
_ETA: Final = _Takes((NUMBER,), "as in $payload.due_at, or $timestamp(payload.date)")
_DELAY: Final = _Takes((NUMBER, NULL), "milliseconds, as in $payload.wait_ms")
_NAME: Final = _Takes((TEXT,), "one of the names under allow:")
_BY_KEY: Final = _Takes((TEXT, NUMBER, BOOLEAN, NULL), "as in $payload.region")
_ID: Final = _Takes((TEXT, NULL), "as in $payload.request_id, or $str(payload.number)")
_OPTIONS: Final = {
    Kind.COUNT: (NUMBER,),
    Kind.COUNT_OR_NULL: (NUMBER, NULL),
    Kind.MILLISECONDS: (NUMBER,),
    Kind.BOOLEAN: (BOOLEAN,),
    Kind.TEXT: (TEXT,),
    Kind.ACTOR: (TEXT,),
}


def check_kind(text: str, takes: _Takes, captures: Collection[str] = ()) -> None:
    """Check a valid expression, without its `$`.

    Raises:
        InvalidValue: none of its values is of a kind that its key takes.
    """
    found = kinds(text, captures)
    if found is not None and found.isdisjoint(takes.kinds):
        raise InvalidValue(f"takes {listed(takes.kinds)}, and this is always {listed(sorted(found))}", takes.hint)


def check_condition(text: str) -> None:
    """Check a valid `when`; `true`, `false`, 1 and 0 may switch a route on or off, as `${NAME}` does.

    Raises:
        InvalidValue: it is the same for each event, and none of them.
    """
    kind = constant_kind(text)
    if kind not in {"", BOOLEAN, NUMBER}:
        message = f"this is {kind} for every event, and no condition"
        raise InvalidValue(message, 'compare a field with it, as in payload.kind == "order"')


def check_values(route: Route, captures: Collection[str]) -> Iterator[tuple[KeyPath, InvalidValue]]:
    """Yield each expression of a route, all of which are valid, whose values its key never takes, with its place."""
    if route.when is not None:
        try:
            check_condition(route.when)
        except InvalidValue as error:
            yield ("when",), error
    for place, value, takes in _expressions(route):
        if is_expression(value):
            try:
                check_kind(str(value)[1:], takes, captures)
            except InvalidValue as error:
                yield place, error


def _expressions(route: Route) -> Iterator[tuple[KeyPath, object, _Takes]]:
    yield ("foreach",), route.foreach, _LIST
    yield ("actor",), route.actor, _NAME
    yield ("queue",), route.queue, _NAME
    if route.queue_by is not None:
        yield ("queue_by", "key"), route.queue_by.key, _BY_KEY
    yield ("eta",), route.eta, _ETA
    if route.deduplicate is not None:
        yield ("deduplicate", "key"), route.deduplicate.key, DEDUPLICATION_KEY
    yield from _call((), route)
    for number, step in enumerate(route.then):
        yield from _call(("then", number), step)
        yield ("then", number, "message_id"), step.message_id, _ID


def _call(path: KeyPath, call: Route | Step) -> Iterator[tuple[KeyPath, object, _Takes]]:
    yield (*path, "args"), call.args, _ARGS
    yield (*path, "kwargs"), call.kwargs, _KWARGS
    yield (*path, "delay"), call.delay, _DELAY
    for name, value in call.options.items():
        kind = OPTIONS.get(name)
        if kind in _OPTIONS:
            yield (*path, "options", name), value, _Takes(_OPTIONS[kind], f"it is {kind.value}")
