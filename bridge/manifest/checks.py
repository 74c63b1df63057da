"""The mistakes in the routes' calls, by a manifest: unknown actors, other queues, arguments that do not bind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bridge.config import Config, Route
from bridge.config.dollar import is_expression
from bridge.config.manifest import Actor
from bridge.config.message_options import check_queue_name
from bridge.config.target_model import Step
from bridge.config.wording import near_miss, quoted
from bridge.errors import Diagnostic, InvalidValue, KeyPath
from bridge.manifest.binding import Binding, Misfit

#: Options whose value is the name of an actor. Dramatiq calls it with two arguments: the message, and the result or error.
_CALLBACKS: Final = ("on_success", "on_failure", "on_retry_exhausted")
_CALLBACK_ARGUMENTS: Final = 2
_FROM_DRAMATIQ: Final = "that Dramatiq gives it, the message and its result or error"
_FROM_THE_MESSAGE_BEFORE: Final = "from the message before"


@dataclass(frozen=True, slots=True)
class Calls:
    """The mistakes in calls, and the doubts: those of calls that a decorator of the actor could put right."""

    mistakes: list[Diagnostic]
    doubts: list[Diagnostic]


def check_calls(config: Config, actors: Mapping[str, Actor]) -> Calls:
    """Return all that can be known of the routes' calls before an event comes."""
    # A manifest that has no value on this machine may name any queue.
    own = actors if config.actors is None and config.manifest is not None else config.actors
    checks = _Checks(actors, own)
    found = [
        (certain, diagnostic.below(("routes", index)))
        for index, route in enumerate(config.routes)
        for certain, diagnostic in checks.route(route)
    ]
    return Calls([each for certain, each in found if certain], [each for certain, each in found if not certain])


_Found = Iterator[tuple[bool, Diagnostic]]


class _Checks:
    """Checks calls by `actors`. A message without a queue takes that of its actor in `own`, the file's own manifest."""

    def __init__(self, actors: Mapping[str, Actor], own: Mapping[str, Actor] | None) -> None:
        self._actors = actors
        self._bindings = {name: Binding(name, actor) for name, actor in actors.items()}
        self._own = own

    def route(self, route: Route) -> _Found:
        queue = route.queue if "queue" in route.model_fields_set else None
        path: KeyPath = ("allow",) if is_expression(route.actor) else ()
        for actor in route.actors:
            # Of queues that an event chooses none needs to be the actor's: `notes` looks at them.
            own = self._actors[actor].queue if actor in self._actors and is_expression(queue) else queue
            yield from self._call(path, "actor", actor, "queue", own)
            if actor in self._actors:
                yield from self._arguments((), actor, route.args, route.kwargs)
        yield from self._options(("options",), route.options, route.actors)
        before = route.actors
        for number, step in enumerate(route.then):
            yield from self._step(("then", number), step, before)
            before = [step.actor]

    def _step(self, path: KeyPath, step: Step, before: Sequence[str]) -> _Found:
        """Check a step of `then`, after one to an actor `before`."""
        queue = step.queue if "queue" in step.model_fields_set else None
        yield from self._call(path, "actor", step.actor, "queue", queue)
        if step.actor in self._actors:
            more = self._results(step.ignore_result, before)
            yield from self._arguments(path, step.actor, step.args, step.kwargs, more=more)
        yield from self._options((*path, "options"), step.options, [step.actor])

    def _call(self, path: KeyPath, key: str, actor: object, queue_key: str, queue: object) -> _Found:
        if not isinstance(actor, str):
            return
        if actor not in self._actors:
            yield True, Diagnostic((*path, key), *unknown_actor(actor, self._actors))
            return
        own = self._actors[actor].queue
        try:
            check_queue_name(own)
        except InvalidValue as error:
            yield True, Diagnostic((*path, key), f"the actor {actor} is on the queue {quoted(own)}: {error}")
            return
        is_on = f"the actor {actor} is on the queue {own}"
        if queue is None:
            written = self._own[actor].queue if self._own is not None and actor in self._own else "default"
            if written != own:
                hint = f"write {queue_key}: {own}, or have the manifest of the application in the file"
                yield True, Diagnostic((*path, key), f"{is_on}, and this is written to {written}", hint)
        elif isinstance(queue, str) and queue != own:
            hint = f"write {own}" if self._own is None else "leave the queue out to take the actor's"
            yield True, Diagnostic((*path, queue_key), f"{is_on}, not {queue}", hint)

    def _options(self, path: KeyPath, options: Mapping[str, Any], before: Sequence[str]) -> _Found:
        for name in _CALLBACKS:
            actor = options.get(name)
            if not isinstance(actor, str):
                continue
            if actor not in self._actors:
                yield True, Diagnostic((*path, name), *unknown_actor(actor, self._actors))
                continue
            misfits = self._bindings[actor].misfits(0, (), more=_CALLBACK_ARGUMENTS, from_where=_FROM_DRAMATIQ)
            for misfit in misfits:
                yield self._actors[actor].certain, Diagnostic((*path, name), misfit.message, misfit.hint)
        if isinstance(message := options.get("pipe_target"), dict):
            yield from self._target((*path, "pipe_target"), message, before)

    def _target(self, path: KeyPath, message: Mapping[str, Any], before: Sequence[str]) -> _Found:
        """Check the next message of a pipeline, after one to an actor `before`."""
        actor = message.get("actor_name")
        yield from self._call(path, "actor_name", actor, "queue_name", message.get("queue_name"))
        if isinstance(actor, str) and actor in self._actors:
            args, kwargs = message.get("args", []), message.get("kwargs", {})
            more = self._results(message.get("options", {}).get("pipe_ignore", False), before)
            yield from self._arguments(path, actor, args, kwargs, more=more)
        yield from self._options((*path, "options"), message.get("options", {}), [str(actor)])

    def _results(self, ignores: object, before: Sequence[str]) -> int | None:
        """Return how many results of the actor `before` Dramatiq adds to the arguments; None where an event tells."""
        if is_expression(ignores):
            return None
        declared = {bool(self._actors[name].options.get("pipe_ignore")) for name in before if name in self._actors}
        if ignores or declared == {True}:
            return 0
        return None if True in declared else 1

    def _arguments(self, path: KeyPath, actor: str, args: object, kwargs: object, more: int | None = 0) -> _Found:
        """Check a call as far as it is written out: an expression may give any arguments."""
        certain, binding = self._actors[actor].certain, self._bindings[actor]
        positional = args if isinstance(args, list) else None
        keywords = kwargs if isinstance(kwargs, dict) else None
        count = None if positional is None or more is None else len(positional)
        for misfit in binding.misfits(count, keywords, more=more or 0, from_where=_FROM_THE_MESSAGE_BEFORE):
            yield certain, _placed(path, misfit)
        given: list[tuple[int | str, Any]] = [*enumerate(positional or ()), *(keywords or {}).items()]
        for at, value in given:
            if why := binding.excluded(at, value):
                yield certain, Diagnostic((*path, "args" if isinstance(at, int) else "kwargs", at), why)


def _placed(path: KeyPath, misfit: Misfit) -> Diagnostic:
    below = () if misfit.at is None else (misfit.at,)
    return Diagnostic((*path, misfit.where, *below), misfit.message, misfit.hint, at_key=misfit.at is not None)


def unknown_actor(actor: str, actors: Mapping[str, Actor]) -> tuple[str, str]:
    """Return the message and the hint about an actor that the application does not have."""
    names = ", ".join(sorted(actors)[:20])
    hint = near_miss(actor, actors, 0.6) or (f"its actors: {names}" if names else "it has no actors")
    return f"the application has no actor {quoted(actor)}", hint
