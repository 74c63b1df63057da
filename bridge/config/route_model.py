"""A route of the file: which events of a source become which messages."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Final, TypeVar

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from bridge.config.call_values import ARGS, KWARGS, OPTIONS, Args, Delay, DynamicOrNull, Eta, Kwargs, Options
from bridge.config.connection import Boolean, Integer, Model, or_null
from bridge.config.deduplicate import RouteDeduplicateOrNull
from bridge.config.dollar import is_expression
from bridge.config.manifest import Actor
from bridge.config.message_options import check_actor_name, check_queue_name
from bridge.config.schemas import Validation
from bridge.config.source_model import Decode
from bridge.config.substitution import unmarked
from bridge.config.target_model import MAX_STEPS, Allow, QueueBy, Step, refuse_pipe_target, target_mistakes
from bridge.config.wording import describe
from bridge.errors import Diagnostic, InvalidValue

MAX_ELEMENTS: Final = 10_000
#: A route that allows many names is drawn and shown with so many pairs of them.
MAX_TARGETS: Final = 64


def _actor(value: object) -> object:
    return str(value) if is_expression(value) else check_actor_name(unmarked(value))


def _queue(value: object) -> object:
    return str(value) if is_expression(value) else check_queue_name(unmarked(value))


def _condition(value: object) -> object:
    if not isinstance(value, str):
        raise InvalidValue(f"takes an expression, not {describe(value)}", "quote it" if value is not None else "")
    # `when` is always an expression; the $ that other values need does no harm.
    text = value.removeprefix("$").lstrip()
    if not text:
        raise InvalidValue("takes an expression", "without a condition, leave it out")
    return text


def _steps(value: object) -> object:
    return [] if value is None else value


class Route(Model):
    """Which events of a source become which message."""

    name: str | None = Field(
        default=None, description="name in logs and metrics; without it the actor's", examples=["oven-too-hot"]
    )
    source: str = Field(
        validation_alias="from", serialization_alias="from", description="name of a source", examples=["plant"]
    )
    topic: str | None = Field(
        default=None,
        description="topic in the source's own wildcards, and {name} for captures",
        examples=["plants/{plant}/ovens/+/temperature"],
    )
    decode: Decode | None = Field(
        default=None,
        description="how a body becomes this route's payload; without it, as at the source",
        examples=["text"],
    )
    validation: Validation = Field(
        default=None,
        validation_alias="validate",
        serialization_alias="validate",
        description="JSON Schema that the payload has to fit, or its file; otherwise this route makes a dead letter",
        examples=["order.schema.json", {"type": "object", "required": ["id"]}],
    )
    when: Annotated[str | None, BeforeValidator(or_null(_condition))] = Field(
        default=None, description="condition, an expression", examples=["payload.celsius > 250 and not meta.retain"]
    )
    otherwise: Boolean = Field(
        default=False, description="whether it fits only where no route of the source without it does", examples=[True]
    )
    foreach: DynamicOrNull = Field(
        default=None,
        description="a list: one message for each element, which is called item, and its place index",
        examples=["$payload.lines"],
    )
    foreach_limit: Annotated[Integer, Field(ge=1, le=MAX_ELEMENTS)] = Field(
        default=1_000, description="elements that an event may have; more are a dead letter", examples=[100]
    )
    actor: Annotated[str, BeforeValidator(_actor)] = Field(description="actor to call", examples=["raise_alarm"])
    queue: Annotated[str, BeforeValidator(_queue)] = Field(
        default="default",
        description="queue of the message; with a manifest, the default is the queue of the actor",
        examples=["alarms"],
    )
    queue_by: QueueBy | None = Field(
        default=None,
        description="another queue for some values of an event",
        examples=[{"key": "$payload.region", "queues": {"eu": "orders-eu"}}],
    )
    allow: Allow | None = Field(
        default=None,
        description="the names that an expression of actor or queue may give",
        examples=[{"actor": ["resize", "crop"]}, {"queue": ["orders-{0..7}"]}],
    )
    args: Args = ARGS
    kwargs: Kwargs = KWARGS
    options: Options = OPTIONS
    delay: Delay = Field(
        default=None,
        description="how long after the event the message becomes due",
        examples=["10s", "$payload.wait_ms"],
    )
    eta: Eta = Field(
        default=None,
        description="when the message becomes due, in milliseconds since 1970; at once if that is past",
        examples=["$payload.due_at", "$timestamp(payload.date)"],
    )
    then: Annotated[
        list[Step],
        Field(max_length=MAX_STEPS),
        BeforeValidator(_steps),
    ] = Field(
        default=[],
        description="steps that follow one after another, each with the result of the one before",
        examples=[[{"actor": "send_receipt"}]],
        json_schema_extra={"type": ["array", "null"]},
    )
    deduplicate: RouteDeduplicateOrNull = Field(
        default=None,
        description="a key for each message of the route: one with a key that was written before is not written",
        examples=[{"key": "$payload.id", "within": "1d"}],
    )
    expires: Boolean = Field(
        default=False,
        description="whether the time of an event (MQTT 5 message expiry, AMQP expiration) bounds max_age; once it is up, nothing is written",
        examples=[True],
    )

    _queues_of: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _is_consistent(self) -> Route:
        mistakes = target_mistakes(
            self.actor, self.queue, self.allow, self.model_fields_set, is_by_key=self.queue_by is not None
        )
        if is_expression(self.actor) and self.name is None and not mistakes:
            message = "a route whose actor is an expression has a name"
            mistakes.append(Diagnostic(("actor",), message, "add name:, for logs and metrics"))
        if self.delay is not None and self.eta is not None:
            mistakes.append(Diagnostic(("eta",), "delay says when, and so does eta", "write one of them", at_key=True))
        if self.foreach is None and "foreach_limit" in self.model_fields_set:
            mistakes.append(Diagnostic(("foreach_limit",), "there is no foreach that it bounds", at_key=True))
        if mistakes:
            raise InvalidValue.of(mistakes)
        if self.then:
            refuse_pipe_target(self.options)
        return self

    @property
    def hidden(self) -> frozenset[str]:
        """As of any model; the steps of `then` are written into the options."""
        is_hidden = "then" in self._hidden or any(step.hidden for step in self.then)
        return self._hidden | {"options", "then"} if is_hidden else self._hidden

    @property
    def actors(self) -> list[str]:
        """The actors that the route may call."""
        return (self.allow.actor if self.allow is not None else None) or [self.actor]

    def queues_of(self, actor: str) -> list[str]:
        """The queues on which the route may call one of its actors."""
        if self.allow is not None and self.allow.queue is not None:
            return self.allow.queue
        own = self.queue_of(actor)
        return [*dict.fromkeys([own, *(self.queue_by.queues.values() if self.queue_by is not None else ())])]

    def queue_of(self, actor: str) -> str:
        """The queue of a message to one of its actors, as far as no value of the event chooses it."""
        return self._queues_of.get(actor, self.queue)

    @property
    def queues(self) -> list[str]:
        """The queues that the route may write to."""
        return [*dict.fromkeys(queue for actor in self.actors for queue in self.queues_of(actor))]

    @property
    def targets(self) -> list[tuple[str, str]]:
        """The queues and actors of the route's messages; of very many only the first."""
        pairs = ((queue, actor) for actor in self.actors for queue in self.queues_of(actor))
        return [*islice(pairs, MAX_TARGETS)]

    @property
    def step_queues(self) -> list[str]:
        """The queues that workers write the steps of `then` to."""
        return [*dict.fromkeys(step.queue for step in self.then)]

    def with_actors(self, actors: Mapping[str, Actor]) -> Route:
        """Return the route in which a call that names no queue takes that of its actor."""
        steps = [_with_queue(step, actors) for step in self.then]
        route = self.model_copy(update={"then": steps}) if steps else self
        if "queue" in self.model_fields_set:
            return route
        if is_expression(self.actor):
            route = route.model_copy()
            route._queues_of = {name: actors[name].queue for name in self.actors if name in actors}  # noqa: SLF001 - its own class
            return route
        return _with_queue(route, actors)


_Call = TypeVar("_Call", Route, Step)


def _with_queue(call: _Call, actors: Mapping[str, Actor]) -> _Call:
    if "queue" in call.model_fields_set or call.actor not in actors:
        return call
    completed = call.model_copy(update={"queue": actors[call.actor].queue})
    completed.model_fields_set.discard("queue")  # model_copy marks it as given; the file does not give it
    return completed
