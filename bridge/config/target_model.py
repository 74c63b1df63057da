"""The target of a route's messages where it is not one actor on one queue: `then`, `queue_by` and `allow`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from bridge.config.call_values import (
    ARGS,
    KWARGS,
    OPTIONS,
    ActorName,
    Args,
    Delay,
    Dynamic,
    Kwargs,
    Options,
    QueueName,
)
from bridge.config.connection import Boolean, Model, or_null
from bridge.config.dollar import is_expression
from bridge.config.message_options import check_actor_name, check_queue_name
from bridge.config.substitution import unmarked
from bridge.config.wording import describe
from bridge.errors import Diagnostic, InvalidValue

MAX_STEPS: Final = 20
#: Of `allow`: so many actors, and so many queues.
MAX_ALLOWED: Final = 256
_RANGE: Final = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}", re.ASCII)


def _message_id(value: object) -> object:
    if isinstance(value, str) and value.strip():
        return str(value)
    raise InvalidValue(
        "takes text" if isinstance(value, str) else f"takes text, not {describe(value)}", "or leave it out"
    )


def refuse_pipe_target(options: dict[str, Any]) -> None:
    """Raise InvalidValue for options that name a next message beside `then`."""
    if "pipe_target" in options:
        message = "pipe_target names the next message, and so does then:"
        hint = "write that message as a step of then:"
        raise InvalidValue.of([Diagnostic(("options", "pipe_target"), message, hint, at_key=True)])


class Step(Model):
    """One step of a pipeline: the message that a worker writes once the one before has run."""

    #: Keys that a step does not have, each with the remedy.
    without: ClassVar[Mapping[str, str]] = {
        "eta": "a step has a delay, from the end of the step before: "
        "delay: '$max(0, timestamp(payload.date) - received_at)'"
    }

    actor: ActorName = Field(description="actor to call", examples=["send_receipt"])
    queue: QueueName = Field(
        default="default",
        description="queue of the message; with a manifest, the default is the queue of the actor",
        examples=["mail"],
    )
    args: Args = ARGS
    kwargs: Kwargs = KWARGS
    options: Options = OPTIONS
    delay: Delay = Field(
        default=None,
        description="how long after the step before the message becomes due",
        examples=["10s", "$payload.wait_ms"],
    )
    message_id: Annotated[
        str | None, BeforeValidator(or_null(_message_id)), WithJsonSchema({"type": ["string", "null"]})
    ] = Field(
        default=None,
        description="id of the message, under which its result is found; without it a new one",
        examples=["$payload.request_id"],
    )
    ignore_result: Boolean = Field(
        default=False, description="whether the actor is called without the result of the step before", examples=[True]
    )

    @model_validator(mode="after")
    def _is_one_chain(self) -> Step:
        refuse_pipe_target(self.options)
        if "pipe_ignore" in self.options:
            diagnostic = Diagnostic(
                ("options", "pipe_ignore"),
                "a step has its own key for this",
                "write ignore_result: beside options:",
                at_key=True,
            )
            raise InvalidValue.of([diagnostic])
        return self


def _queues(value: object) -> object:
    if not isinstance(value, dict):
        raise InvalidValue(f"takes a mapping, not {describe(value)}", "as in {eu: orders-eu, us: orders-us}")
    queues: dict[str, str] = {}
    mistakes: list[Diagnostic] = []
    for key, queue in value.items():
        try:
            queues[str(key)] = check_queue_name(unmarked(queue))
        except InvalidValue as error:
            mistakes += [diagnostic.below((key,)) for diagnostic in error.diagnostics]
    if mistakes:
        raise InvalidValue.of(mistakes)
    if not queues:
        raise InvalidValue("takes at least one value with its queue", "as in {eu: orders-eu}")
    return queues


class QueueBy(Model):
    """The queue of a message by a value of its event."""

    key: Dynamic = Field(description="the value, compared as text", examples=["$payload.region"])
    queues: Annotated[
        dict[str, str],
        BeforeValidator(_queues),
        WithJsonSchema({"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}}),
    ] = Field(
        description="queue for each value; for any other, the route's queue",
        examples=[{"eu": "orders-eu", "us": "orders-us"}],
    )


def _expanded(text: str) -> Iterator[str]:
    """Yield the names that a text with ranges stands for, as in `orders-{0..7}`."""
    found = _RANGE.search(text)
    if found is None:
        yield text
        return
    ends = found.groups()
    first, last = map(int, ends)
    if last < first:
        hint = "as in orders-{0..7}"
        raise InvalidValue(f"{found[0]} takes a smaller number, then a larger one", hint, found.start())
    if last - first >= MAX_ALLOWED:
        raise InvalidValue(f"{found[0]} stands for more than {MAX_ALLOWED} names", "", found.start())
    # As in a shell: where an end has leading zeros, all numbers have as many digits.
    width = max(map(len, ends)) if any(end[0] == "0" < end[1:] for end in ends) else 0
    for number in range(first, last + 1):
        yield from _expanded(f"{text[: found.start()]}{number:0{width}}{text[found.end() :]}")


def _names(check: Callable[[object], str], value: object) -> object:
    """Return the names that a list of `allow` stands for, each once. Raises InvalidValue with every mistake in it."""
    if not isinstance(value, list):
        raise InvalidValue(f"takes a list of names, not {describe(value)}", "as in [eu, us], or [lane-{0..7}]")
    names: dict[str, None] = {}
    mistakes: list[Diagnostic] = []
    for index, item in enumerate(value):
        try:
            for name in _expanded(item) if isinstance(item, str) else [item]:
                names[check(unmarked(name))] = None
                if len(names) > MAX_ALLOWED:
                    raise InvalidValue(f"takes {MAX_ALLOWED} names at most")
        except InvalidValue as error:
            mistakes += [diagnostic.below((index,)) for diagnostic in error.diagnostics]
    if mistakes:
        raise InvalidValue.of(mistakes)
    if not names:
        raise InvalidValue("takes at least one name")
    return [*names]


_NAMES_SCHEMA: Final = WithJsonSchema({"type": "array", "minItems": 1, "items": {"type": "string"}})


class Allow(Model):
    """The actors and the queues that an expression may choose; {0..7} in a name stands for eight names."""

    actor: Annotated[
        list[str] | None,
        BeforeValidator(or_null(lambda value: _names(check_actor_name, value))),
        _NAMES_SCHEMA,
    ] = Field(default=None, description="actors that the expression of actor may name", examples=[["resize", "crop"]])
    queue: Annotated[
        list[str] | None,
        BeforeValidator(or_null(lambda value: _names(check_queue_name, value))),
        _NAMES_SCHEMA,
    ] = Field(default=None, description="queues that the expression of queue may name", examples=[["orders-{0..7}"]])


def target_mistakes(
    actor: str, queue: str, allow: Allow | None, written: Collection[str], *, is_by_key: bool
) -> list[Diagnostic]:
    """Return the mistakes in a route's `actor` and `queue`, of which either may be an expression that `allow` bounds.

    `written` are the keys that the file has.
    """
    mistakes = []
    for key, value, names, harm in (
        ("actor", actor, allow.actor if allow is not None else None, "let anyone call any actor"),
        ("queue", queue, allow.queue if allow is not None else None, "let anyone write to any queue"),
    ):
        if is_expression(value) and names is None:
            message = f"an expression alone would {harm}"
            mistakes.append(
                Diagnostic((key,), message, f"write the name of the {key}, or list its names under allow: {key}:")
            )
        elif names is not None and not is_expression(value):
            message = f"the {key} is written out, so allow.{key} has no effect"
            hint = f"write an expression, as in {key}: $payload.{key}"
            place = (key,) if key in written else ("allow", key)
            mistakes.append(Diagnostic(place, message, hint))
    if is_by_key and is_expression(queue):
        message = "queue_by chooses the queue, and so does the expression of queue"
        mistakes.append(Diagnostic(("queue_by",), message, "write one of them", at_key=True))
    return mistakes
