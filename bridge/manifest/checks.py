"""The mistakes in the routes' calls, by a manifest: unknown actors, other queues, arguments that do not bind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from bridge.config import Config, Route
from bridge.config.manifest import Actor
from bridge.config.wording import near_miss, quoted
from bridge.errors import Diagnostic, KeyPath
from bridge.manifest.binding import Binding, Misfit, bindings

#: Options whose value is the name of an actor. Dramatiq calls it with two arguments: the message, and the result or error.
_CALLBACKS: Final = ("on_success", "on_failure", "on_retry_exhausted")
_CALLBACK_ARGUMENTS: Final = 2


def check_calls(config: Config, actors: Mapping[str, Actor]) -> list[Diagnostic]:
    """Return every mistake of the routes' calls that can be known before an event comes."""
    checks = _Checks(actors)
    return [
        diagnostic.below(("routes", index))
        for index, route in enumerate(config.routes)
        for diagnostic in checks.route(route)
    ]


class _Checks:
    def __init__(self, actors: Mapping[str, Actor]) -> None:
        self._actors = actors
        self._bindings = bindings(actors)

    def route(self, route: Route) -> Iterator[Diagnostic]:
        yield from self._call((), "actor", route.actor, "queue", route.queue)
        if route.actor in self._actors:
            yield from _arguments((), self._bindings[route.actor], route.args, route.kwargs)
        yield from self._options(("options",), route.options)

    def _call(self, path: KeyPath, key: str, actor: object, queue_key: str, queue: object) -> Iterator[Diagnostic]:
        if not isinstance(actor, str):
            return
        if actor not in self._actors:
            yield Diagnostic((*path, key), *_unknown(actor, self._actors))
        elif isinstance(queue, str) and queue != self._actors[actor].queue:
            message = f"the actor {actor} is on the queue {self._actors[actor].queue}, not {queue}"
            yield Diagnostic((*path, queue_key), message, "leave the queue out to take the actor's")

    def _options(self, path: KeyPath, options: Mapping[str, Any]) -> Iterator[Diagnostic]:
        for name in _CALLBACKS:
            actor = options.get(name)
            if not isinstance(actor, str):
                continue
            if actor not in self._actors:
                yield Diagnostic((*path, name), *_unknown(actor, self._actors))
                continue
            for misfit in self._bindings[actor].misfits(0, (), more=_CALLBACK_ARGUMENTS):
                yield Diagnostic((*path, name), misfit.message, misfit.hint)
        target = options.get("pipe_target")
        for place, message in _targets((*path, "pipe_target"), target):
            actor = message.get("actor_name")
            yield from self._call(place, "actor_name", actor, "queue_name", message.get("queue_name"))
            inner = message.get("options", {})
            if isinstance(actor, str) and actor in self._actors:
                more = 0 if inner.get("pipe_ignore") else 1
                args, kwargs = message.get("args", []), message.get("kwargs", {})
                yield from _arguments(place, self._bindings[actor], args, kwargs, more=more)
            yield from self._options((*place, "options"), inner)


def _targets(path: KeyPath, target: object) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    if isinstance(target, dict):
        yield path, target


def _arguments(path: KeyPath, binding: Binding, args: object, kwargs: object, *, more: int = 0) -> Iterator[Diagnostic]:
    """Check a call as far as it is written out: an expression may give any arguments."""
    positional: Sequence[Any] | None = args if isinstance(args, list) else None
    keywords: Mapping[str, Any] | None = kwargs if isinstance(kwargs, dict) else None
    if positional is not None and keywords is not None:
        for misfit in binding.misfits(len(positional), keywords, more=more):
            yield _placed(path, misfit)
    given: list[tuple[int | str, Any]] = [*enumerate(positional or ()), *(keywords or {}).items()]
    for at, value in given:
        if _is_literal(value):
            literal = value[1:] if isinstance(value, str) and value.startswith("$$") else value
            if why := binding.excluded(at, literal):
                yield Diagnostic((*path, "args" if isinstance(at, int) else "kwargs", at), why)


def _placed(path: KeyPath, misfit: Misfit) -> Diagnostic:
    below = () if misfit.at is None else (misfit.at,)
    return Diagnostic((*path, misfit.where, *below), misfit.message, misfit.hint, at_key=misfit.at is not None)


def _is_literal(value: object) -> bool:
    return not (isinstance(value, str) and value.startswith("$") and not value.startswith("$$"))


def _unknown(actor: str, actors: Mapping[str, Actor]) -> tuple[str, str]:
    names = ", ".join(sorted(actors)[:20])
    return f"the application has no actor {quoted(actor)}", near_miss(actor, actors, 0.6) or f"its actors: {names}"
