"""The steps of `then`: the messages that Dramatiq's workers write one after another, each inside the one before.

The form is that of Dramatiq's own `pipeline`: `options.pipe_target` holds the next message whole, with its own
`pipe_target`. When a worker writes that message, it adds the result of the step before to the arguments, unless
`pipe_ignore` is set, and delays the message by `options.delay`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bridge.config.message_options import check_option
from bridge.config.wording import quoted
from bridge.errors import BadEvent
from bridge.manifest.binding import Binding
from bridge.model.message import MessageIds
from bridge.routing.message_builder import check_arguments, check_delay

_FROM_THE_STEP_BEFORE: Final = "from the step before"
_MAX_MESSAGE_ID: Final = 255
#: The values of one step: args, kwargs, its options that an event tells, delay, message_id.
StepValues = tuple[object, object, dict[str, object], object, object]


@dataclass(frozen=True, slots=True)
class CompiledStep:
    """One step as far as it is known before the event; `options` are its constant ones, as they are written.

    `binding` has the actor's parameters where each call is checked; the step before gives so many `results` as arguments.
    """

    actor: str
    queue: str
    options: dict[str, object]
    binding: Binding | None = None
    results: int = 0


def pipe_target(steps: Sequence[CompiledStep], values: Sequence[StepValues], ids: MessageIds) -> dict[str, object]:
    """Return the first step as a message, which holds the others.

    Raises:
        BadEvent: a value of a step is one that a Dramatiq worker could not use.
    """
    target: dict[str, object] | None = None
    for number in range(len(steps) - 1, -1, -1):
        step = steps[number]
        try:
            target = _message(step, values[number], target, ids)
        except BadEvent as error:
            raise BadEvent(error.reason, f"then.{number}: {error.detail}", f"then.{number}") from None
    assert target is not None  # noqa: S101 - there is a step
    return target


def _message(
    step: CompiledStep, values: StepValues, target: dict[str, object] | None, ids: MessageIds
) -> dict[str, object]:
    args, kwargs, dynamic, delay, message_id = values
    check_arguments(args, kwargs)
    if step.binding is not None:
        misfits = step.binding.misfits(
            len(args), kwargs, more=step.results, from_where=_FROM_THE_STEP_BEFORE  # type: ignore[arg-type]
        )  # fmt: skip
        misfit = next(misfits, None)
        if misfit is not None:
            raise BadEvent("arguments", str(misfit))
    options = dict(step.options)
    for name, value in dynamic.items():
        try:
            options[name] = check_option(name, value, literal=False)
        except ValueError as error:
            raise BadEvent("option", f"options.{name}: {error}") from None
    if delay is not None:
        options["delay"] = check_delay(delay)
    if target is not None:
        options["pipe_target"] = target
    return {
        "queue_name": step.queue,
        "actor_name": step.actor,
        "args": args,
        "kwargs": kwargs,
        "options": options,
        "message_id": ids.next_message_id() if message_id is None else _checked_id(message_id),
        "message_timestamp": ids.now_ms,
    }


def _checked_id(value: object) -> str:
    if type(value) is not str or not value or len(value) > _MAX_MESSAGE_ID:
        raise BadEvent("option", f"message_id takes text of 1 to {_MAX_MESSAGE_ID} characters, not {quoted(value)}")
    return value
