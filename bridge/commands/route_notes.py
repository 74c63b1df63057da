"""The notes of `check` on routes that make several messages, or choose their target: parts that nothing ever reaches."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from bridge.commands.targets import short
from bridge.config import Config, Route
from bridge.config.manifest import Actor
from bridge.errors import Diagnostic, KeyPath
from bridge.routing.expressions.syntax import tree_of

#: Functions that give text in one case: it never equals a text in another case.
_CASES = {"lower": str.lower, "upper": str.upper}


def route_notes(loaded: Config, actors: Mapping[str, Actor] | None) -> Iterator[Diagnostic]:
    """Yield the notes; queues are compared with those of the `actors` of a manifest, if there is one."""
    takes_all: dict[str, str] = {}
    for route in loaded.routes:
        if not (route.otherwise or route.when or route.topic or route.foreach):
            takes_all.setdefault(route.source, str(route.name))
    served = None if actors is None else {actor.queue for actor in actors.values()}
    named = {"default", *(queue for route in loaded.routes for queue in (route.queue, *route.step_queues))}
    for index, route in enumerate(loaded.routes):
        path: KeyPath = ("routes", index)
        if route.otherwise and route.source in takes_all:
            text = (
                f"route {route.name}: otherwise never fits, since the route {takes_all[route.source]} takes every event"
            )
            yield Diagnostic((*path, "otherwise"), text, at_key=True)
        elif route.otherwise and all(one.otherwise for one in loaded.routes if one.source == route.source):
            text = f"route {route.name}: otherwise has no effect, since each route of its source has it"
            yield Diagnostic((*path, "otherwise"), text, at_key=True)
        if route.deduplicate is not None and "name" not in route.model_fields_set:
            text = f"route {route.name}: Redis remembers its keys of deduplicate under this name, which comes from its actor and its place; write name: {route.name}"
            yield Diagnostic((*path, "deduplicate"), text, at_key=True)
        if route.queue_by is not None:
            yield from _by_key(route, path)
        if served is not None:
            yield from _unserved(route, path, served)
        else:
            yield from _undeclared(route, path, named)


def _by_key(route: Route, path: KeyPath) -> Iterator[Diagnostic]:
    """Yield the values of `queue_by` that its key never has, or that change nothing."""
    assert route.queue_by is not None  # noqa: S101 - the caller looked
    key, queues = route.queue_by.key[1:], route.queue_by.queues
    for value, queue in queues.items():
        place = (*path, "queue_by", "queues", value)
        if not _may_be(key, value):
            yield Diagnostic(place, f"route {route.name}: ${key} is never {value!r}", at_key=True)
        elif {queue} == {route.queue_of(actor) for actor in route.actors}:
            text = f"route {route.name}: {queue} is the queue of the route, which {value!r} has anyway"
            yield Diagnostic(place, text, at_key=True)


def _may_be(key: str, value: str) -> bool:
    """Tell whether an expression may give this text, as far as its outermost part says."""
    tree = tree_of(key)
    if isinstance(tree, ast.Compare) or (isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not)):
        return value in {"true", "false"}
    if not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name)):
        return True
    name, arguments = tree.func.id, tree.args
    if name in _CASES:
        return _CASES[name](value) == value
    if name in {"bool", "has", "matches", "any", "all"}:
        return value in {"true", "false"}
    if name == "bucket" and len(arguments) == 2 and isinstance(arguments[1], ast.Constant):
        return value in map(str, range(int(str(arguments[1].value))))
    return True


def _chosen(route: Route, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yield the queues among which an event chooses, each with its place."""
    if route.queue_by is not None:
        yield from (((*path, "queue_by", "queues", value), queue) for value, queue in route.queue_by.queues.items())
    if route.allow is not None:
        yield from (((*path, "allow", "queue"), queue) for queue in route.allow.queue or ())


def _undeclared(route: Route, path: KeyPath, named: set[str]) -> Iterator[Diagnostic]:
    """Yield the chosen queues that stand nowhere else, in one note: without a manifest nobody knows the application's."""
    places = {queue: place for place, queue in _chosen(route, path) if queue not in named}
    if places:
        text = f"route {route.name}: Dramatiq's workers read a queue only if the application declares it: {short([*places])}"
        yield Diagnostic(next(iter(places.values())), text)


def _unserved(route: Route, path: KeyPath, served: set[str]) -> Iterator[Diagnostic]:
    """Yield the chosen queues on which the application has no actor."""
    for place, queue in _chosen(route, path):
        if queue not in served:
            text = f"route {route.name}: no actor of the manifest is on the queue {queue}: workers look there only if they declare it"
            yield Diagnostic(place, text)
