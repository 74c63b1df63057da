"""The gates of a route: keys by which a message that is made is not written all the same."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from bridge.config.connection import Milliseconds, Model, at_least, or_null
from bridge.config.dollar import is_expression
from bridge.config.wording import describe
from bridge.errors import InvalidValue

_DEDUPLICATE: Final = "as in deduplicate: {key: $payload.id, within: 1d}"


def _deduplicate(value: object) -> object:
    if not isinstance(value, (dict, RouteDeduplicate)):
        raise InvalidValue(f"takes a mapping, not {describe(value)}", _DEDUPLICATE)
    return value


def _key(value: object) -> object:
    if not isinstance(value, str):
        raise InvalidValue(f"takes an expression, not {describe(value)}", "as in $payload.id")
    if not is_expression(value):
        raise InvalidValue("takes an expression, which begins with $", "as in $payload.id")
    return str(value)


class RouteDeduplicate(Model):
    """How a route's messages are told apart."""

    key: Annotated[str, BeforeValidator(_key), WithJsonSchema({"type": "string", "pattern": r"^\$"})] = Field(
        description="expression that tells a message of the route from every other; one with a key that is remembered is not written",
        examples=["$payload.id"],
    )
    within: Annotated[Milliseconds, at_least(1_000)] = Field(
        default=86_400_000, description="how long a key is remembered"
    )


#: The `deduplicate` of a route.
DeduplicateOrNull = Annotated[RouteDeduplicate | None, BeforeValidator(or_null(_deduplicate))]
