"""Builders of messages: each checks the values of an event, and writes them into a message."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from bridge.config import message_options
from bridge.config.wording import describe, quoted
from bridge.errors import BadEvent
from bridge.manifest.binding import Binding
from bridge.model.message import CLOSING_QUOTE, MessageIds, Template, encode_dynamic_options

_MAX_DELAY_MS: Final = 10 * 365 * 86_400_000


def message_builder(
    template: Template, static_delay_ms: int | None, *, dynamic_delay: bool, binding: Binding | None = None
) -> Callable[..., tuple[bytes, bytes]]:
    """Return a function that checks an event's values and builds the message.

    Its parameters are args, kwargs, ids, options and delay (ms), as the route's expressions returned them, and the
    options of a trace, as `Tracing.writer` makes them. It returns redis_message_id and body. It raises BadEvent for a
    value that a Dramatiq worker could not use; with `binding`, also for arguments that the actor does not take.
    """
    check = check_arguments if binding is None else partial(check_call, binding)

    def build(  # noqa: PLR0917 - the compiled route calls it, in this order
        args: object,
        kwargs: object,
        ids: MessageIds,
        options: dict[str, object],
        delay: object,
        trace: bytes = CLOSING_QUOTE,
    ) -> tuple[bytes, bytes]:
        check(args, kwargs)
        eta_ms = None
        if dynamic_delay:
            eta_ms = ids.now_ms + check_delay(delay)
        elif static_delay_ms is not None:
            eta_ms = ids.now_ms + static_delay_ms
        return template.fill(args, kwargs, ids, encode_dynamic_options(check_options(options), eta_ms, trace))

    return build


def check_arguments(args: object, kwargs: object) -> None:
    """Refuse arguments that no actor can be called with.

    Raises:
        BadEvent: `args` is no list, or `kwargs` no mapping with text keys.
    """
    if type(args) is not list:
        raise BadEvent("wrong-type", f"args takes a list, not {describe(args)}")
    if type(kwargs) is not dict:
        raise BadEvent("wrong-type", f"kwargs takes a mapping, not {describe(kwargs)}")
    for key in kwargs:
        if type(key) is not str:
            raise BadEvent("wrong-type", f"kwargs takes text keys, not {describe(key)}")


def check_call(binding: Binding, args: object, kwargs: object) -> None:
    """Raise BadEvent for arguments that the actor does not take."""
    check_arguments(args, kwargs)
    misfit = next(binding.misfits(len(args), kwargs), None)  # type: ignore[arg-type] # a list and a mapping, as checked
    if misfit is not None:
        raise BadEvent("arguments", str(misfit))


def check_delay(delay: object) -> int:
    """Return a delay in whole milliseconds. Raises BadEvent for any other value."""
    if type(delay) not in (int, float) or not 0 <= delay <= _MAX_DELAY_MS:  # type: ignore[operator]
        hint = "; a point in time less received_at is one" if type(delay) is int and delay > _MAX_DELAY_MS else ""
        raise BadEvent("option", f"delay takes milliseconds from 0 to ten years, not {quoted(delay)}{hint}")
    return int(delay)  # type: ignore[call-overload, no-any-return]


def check_options(values: dict[str, object]) -> dict[str, object]:
    """Return an event's options in the form in which they are written to Redis.

    Raises:
        BadEvent: an option would make a Dramatiq worker lose the message.
    """
    checked = {}
    for name, value in values.items():
        try:
            checked[name] = message_options.check_option(name, value, literal=False)
        except ValueError as error:
            raise BadEvent("option", f"options.{name}: {error}") from None
    return checked
