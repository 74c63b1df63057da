"""The values of a call, as a route and each step behind it have them: a literal, or an expression behind `$`."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from bridge.config.connection import or_null
from bridge.config.dollar import is_expression
from bridge.config.message_options import check_actor_name, check_options, check_queue_name
from bridge.config.substitution import unmarked
from bridge.config.units import DURATION, parse_duration
from bridge.config.wording import describe
from bridge.errors import InvalidValue

EXPRESSION: Final = {"type": "string", "pattern": r"^\$"}


def _list(value: object) -> object:
    if isinstance(value, list) or is_expression(value):
        return unmarked(value)
    hint = (
        "named arguments go into kwargs"
        if isinstance(value, dict)
        else "or an expression that gives one, as in $payload.items"
    )
    raise InvalidValue(f"takes a list, not {describe(value)}", hint)


def _mapping(value: object) -> object:
    if isinstance(value, dict) or is_expression(value):
        return unmarked(value)
    raise InvalidValue(f"takes a mapping, not {describe(value)}", "or an expression that gives one, as in $payload")


def _delay(value: object) -> object:
    if is_expression(value):
        return str(value)
    try:
        return parse_duration(value)
    except InvalidValue as error:
        if isinstance(value, str) and value[:1].isalpha():
            raise InvalidValue(error.args[0], f"an expression begins with $, as in ${value}") from None
        raise


def _eta(value: object) -> object:
    if is_expression(value):
        return str(value)
    if isinstance(value, str) and value[:1].isdigit():
        message = "takes an expression"
        hint = f'as in $timestamp("{value}")'
        with suppress(InvalidValue):
            parse_duration(value)
            hint = f"a time from the event on is delay: {value}"
        raise InvalidValue(message, hint)
    if isinstance(value, str):
        return expression(value)
    message = f"takes an expression, not {describe(value)}"
    raise InvalidValue(message, "as in $payload.due_at, in milliseconds since 1970, or $timestamp(payload.date)")


def _actor(value: object) -> object:
    return check_actor_name(unmarked(value))


def _queue(value: object) -> object:
    return check_queue_name(unmarked(value))


ActorName = Annotated[str, BeforeValidator(_actor)]
QueueName = Annotated[str, BeforeValidator(_queue)]
Args = Annotated[list[Any] | str, BeforeValidator(_list), WithJsonSchema({"anyOf": [{"type": "array"}, EXPRESSION]})]
Kwargs = Annotated[
    dict[str, Any] | str, BeforeValidator(_mapping), WithJsonSchema({"anyOf": [{"type": "object"}, EXPRESSION]})
]
Options = Annotated[dict[str, Any], BeforeValidator(check_options)]
Delay = Annotated[
    int | str | None,
    BeforeValidator(or_null(_delay)),
    WithJsonSchema({"type": ["string", "null"], "pattern": rf"^({DURATION}|\$.*)$"}),
]


def expression(value: object) -> str:
    """Return the text of an expression, which begins with `$`.

    Raises:
        InvalidValue: it is none.
    """
    if not isinstance(value, str):
        raise InvalidValue(f"takes an expression, not {describe(value)}", "it begins with $, as in $payload.items")
    if not is_expression(value):
        example = value if value[:1].isalpha() else "payload.id"
        raise InvalidValue("takes an expression", f"it begins with $, as in ${example}")
    return str(value)


#: An expression behind `$`; and one that may be null, for none.
Dynamic = Annotated[str, BeforeValidator(expression), WithJsonSchema(EXPRESSION)]
DynamicOrNull = Annotated[
    str | None, BeforeValidator(or_null(expression)), WithJsonSchema({"type": ["string", "null"], "pattern": r"^\$"})
]
Eta = Annotated[
    str | None, BeforeValidator(or_null(_eta)), WithJsonSchema({"type": ["string", "null"], "pattern": r"^\$"})
]
ARGS: Final[Any] = Field(
    default=[], description="positional arguments", examples=[["$plant", "$payload.celsius"], "$payload.args"]
)
KWARGS: Final[Any] = Field(
    default={}, description="keyword arguments", examples=[{"severity": "high", "at": "$received_at"}, "$payload"]
)
OPTIONS: Final[Any] = Field(
    default={}, description="Dramatiq's message options", examples=[{"max_retries": 5, "time_limit": "30s"}]
)
