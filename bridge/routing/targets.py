"""The target of a message where an event tells it: its actor and queue by `allow` and `queue_by`, its time by `eta`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from bridge.config.route_model import Route as RouteConfig
from bridge.config.times import MIN_MILLISECONDS
from bridge.config.wording import describe, quoted
from bridge.errors import BadEvent
from bridge.manifest.binding import Binding
from bridge.model.message import (
    CLOSING_QUOTE,
    Message,
    MessageIds,
    Template,
    encode_dynamic_options,
)
from bridge.routing.expressions.text import key_text
from bridge.routing.message_builder import check_arguments, check_call, check_delay, check_options
from bridge.routing.steps import CompiledStep, StepValues, pipe_target

_MAX_ETA_MS: Final = 10 * 365 * 86_400_000
#: A route of many actors and many queues keeps the templates of those that its events have chosen lately.
_MAX_TEMPLATES: Final = 1024
#: Takes the values of `actor`, `queue` and `queue_by.key`, and returns an actor and its queue.
Choose = Callable[[object, object, object], tuple[str, str]]
#: The values of an event that choose its target: that of `delay` or `eta`, those of `Choose`, and those of each step.
TargetValues = tuple[object, object, object, object, Sequence[StepValues]]


def chooser(config: RouteConfig) -> Choose:
    """Return the function that chooses the actor and the queue of a message.

    It raises BadEvent for a name that the route does not allow.
    """
    allow, by_key = config.allow, config.queue_by
    actors = None if allow is None or allow.actor is None else frozenset(allow.actor)
    queues = None if allow is None or allow.queue is None else frozenset(allow.queue)
    by_value: Mapping[str, str] = {} if by_key is None else by_key.queues
    own = {name: config.queue_of(name) for name in config.actors}

    def choose(actor: object, queue: object, key: object) -> tuple[str, str]:
        name = config.actor if actors is None else _allowed("actor", actor, actors)
        if queues is not None:
            return name, _allowed("queue", queue, queues)
        return name, by_value.get(_key_text(key), own[name]) if by_value else own[name]

    return choose


def _key_text(key: object) -> str:
    """Return a value of `queue_by.key` as `queue_by.queues` writes it. Raises BadEvent for a list or a mapping."""
    if type(key) is str:
        return key
    if key is None or type(key) in (bool, int, float):
        return key_text(key)
    detail = f"queue_by.key: takes text, a number, true, false or null, not {describe(key)}"
    raise BadEvent("wrong-type", detail, "queue_by.key")


def _allowed(key: str, value: object, names: Collection[str]) -> str:
    """Return the value of `actor` or `queue`, the `key`. Raises BadEvent unless it is one of the names."""
    if type(value) is not str or value not in names:
        raise BadEvent("not-allowed", f"{key}: {quoted(value)} is not in allow.{key}", key)
    return value


def templates(static: dict[str, object]) -> Callable[[str, str, bool], Template]:
    """Return the function that gives the template of an actor, a queue, and whether the message is delayed."""

    @lru_cache(maxsize=_MAX_TEMPLATES)
    def template(actor: str, queue: str, delayed: bool) -> Template:  # noqa: FBT001 - a key of the cache
        return Template(actor, queue, static, delayed=delayed)

    return template


def _due(eta: object, now_ms: int) -> int | None:
    """Return the time at which a message becomes due, None if that is now. Raises BadEvent for any other value."""
    if type(eta) not in (int, float) or not eta <= now_ms + _MAX_ETA_MS:  # type: ignore[operator]
        detail = f"eta takes milliseconds since 1970, at most ten years from now, not {quoted(eta)}"
        raise BadEvent("option", detail, "eta")
    if eta < MIN_MILLISECONDS:  # type: ignore[operator]
        detail = (
            f"eta takes milliseconds since 1970, and {quoted(eta)} of them end before 1973: multiply seconds by 1000"
        )
        raise BadEvent("option", detail, "eta")
    return int(eta) if eta > now_ms else None  # type: ignore[call-overload, operator]


@dataclass(frozen=True, slots=True)
class TargetBuilder:
    """Builds the messages of a route that is not plain.

    `template_of` gives the template of an actor, a queue, and whether the message is delayed. `bindings` have the
    parameters of the actors of which each call is checked. `delay_ms` is a constant delay, and `is_eta` tells whether an
    event gives the time itself. `fill_traces` puts the trace of the event into the options of a built body.
    """

    choose: Choose
    template_of: Callable[[str, str, bool], Template]
    steps: Sequence[CompiledStep]
    bindings: Mapping[str, Binding]
    delay_ms: int | None = None
    is_eta: bool = False
    fill_traces: Callable[[bytes], bytes] | None = None

    def build(  # noqa: PLR0917 - the compiled route calls it, in this order
        self,
        args: object,
        kwargs: object,
        ids: MessageIds,
        options: dict[str, object],
        target: TargetValues,
        trace: bytes = CLOSING_QUOTE,
    ) -> Message:
        """Return the message for these values of the route's expressions.

        Raises:
            BadEvent: a value is one that the route does not allow, or that a Dramatiq worker could not use.
        """
        due, actor_value, queue_value, key, steps = target
        actor, queue = self.choose(actor_value, queue_value, key)
        if actor in self.bindings:
            check_call(self.bindings[actor], args, kwargs)
        else:
            check_arguments(args, kwargs)
        eta_ms = None if self.delay_ms is None else ids.now_ms + self.delay_ms
        if self.is_eta:
            eta_ms = _due(due, ids.now_ms)
        elif due is not None:
            eta_ms = ids.now_ms + check_delay(due)
        checked = check_options(options)
        if self.steps:
            checked["pipe_target"] = pipe_target(self.steps, steps, ids)
        template = self.template_of(actor, queue, eta_ms is not None)
        redis_id, body = template.fill(args, kwargs, ids, encode_dynamic_options(checked, eta_ms, trace))
        return Message(template.queue, redis_id, body if self.fill_traces is None else self.fill_traces(body))
