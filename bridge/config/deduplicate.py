"""`deduplicate`: how a source's events, and a route's messages, are told apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from bridge.config.connection import Milliseconds, Model, at_least, or_null
from bridge.config.dollar import is_expression
from bridge.config.wording import describe
from bridge.errors import InvalidValue

#: How a source, and a route, should write it.
OF_SOURCE: Final = "deduplicate: {key: $meta.message_id, within: 1d}"
_OF_ROUTE: Final = "deduplicate: {key: $payload.id, within: 1d}"


def _mapping(example: str) -> Callable[[object], object]:
    def check(value: object) -> object:
        if not isinstance(value, (dict, Model)):
            raise InvalidValue(f"takes a mapping, not {describe(value)}", f"as in {example}")
        return value

    return check


def _key(example: str) -> Callable[[object], object]:
    def check(value: object) -> object:
        if not isinstance(value, str):
            raise InvalidValue(f"takes an expression, not {describe(value)}", f"as in {example}")
        if not is_expression(value):
            raise InvalidValue("takes an expression, which begins with $", f"as in {example}")
        return str(value)

    return check


_SCHEMA: Final = WithJsonSchema({"type": "string", "pattern": r"^\$"})
_Lifetime = Annotated[Milliseconds, at_least(1_000)]
_LIFETIME: Final[Any] = Field(default=86_400_000, description="how long a key is remembered")


class Deduplicate(Model):
    """How a source's events are told apart."""

    key: Annotated[str, BeforeValidator(_key("$meta.message_id")), _SCHEMA] = Field(
        description="expression that tells an event from every other; one that comes again is dropped",
        examples=["$meta.message_id"],
    )
    within: _Lifetime = _LIFETIME


class RouteDeduplicate(Model):
    """How a route's messages are told apart."""

    key: Annotated[str, BeforeValidator(_key("$payload.id")), _SCHEMA] = Field(
        description="expression that tells a message of the route from every other; one with a key that is remembered is not written",
        examples=["$payload.id"],
    )
    within: _Lifetime = _LIFETIME


#: The `deduplicate` of a source, and of a route; null for none.
DeduplicateOrNull = Annotated[Deduplicate | None, BeforeValidator(or_null(_mapping(OF_SOURCE)))]
RouteDeduplicateOrNull = Annotated[RouteDeduplicate | None, BeforeValidator(or_null(_mapping(_OF_ROUTE)))]
