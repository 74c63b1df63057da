"""A route of the file: which events of a source become which messages."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from bridge.config.connection import Model, or_null
from bridge.config.dollar import is_expression
from bridge.config.message_options import check_actor_name, check_options, check_queue_name
from bridge.config.source_model import Decode
from bridge.config.substitution import unmarked
from bridge.config.units import DURATION, parse_duration
from bridge.config.wording import describe
from bridge.errors import InvalidValue

_EXPRESSION = {"type": "string", "pattern": r"^\$"}


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
    return str(value) if is_expression(value) else parse_duration(value)


def _actor(value: object) -> object:
    return check_actor_name(unmarked(value))


def _queue(value: object) -> object:
    return check_queue_name(unmarked(value))


def _condition(value: object) -> object:
    if not isinstance(value, str):
        raise InvalidValue(f"takes an expression, not {describe(value)}", "quote it" if value is not None else "")
    # `when` is always an expression; the $ that other values need does no harm.
    text = value.removeprefix("$").lstrip()
    if not text:
        raise InvalidValue("takes an expression", "without a condition, leave it out")
    return text


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
    when: Annotated[str | None, BeforeValidator(or_null(_condition))] = Field(
        default=None, description="condition, an expression", examples=["payload.celsius > 250 and not meta.retain"]
    )
    actor: Annotated[str, BeforeValidator(_actor)] = Field(description="actor to call", examples=["raise_alarm"])
    queue: Annotated[str, BeforeValidator(_queue)] = Field(
        default="default",
        description="queue of the message; with a manifest, the default is the queue of the actor",
        examples=["alarms"],
    )
    args: Annotated[
        list[Any] | str, BeforeValidator(_list), WithJsonSchema({"anyOf": [{"type": "array"}, _EXPRESSION]})
    ] = Field(
        default=[],
        description="positional arguments",
        examples=[["$plant", "$payload.celsius"], "$payload.args"],
    )
    kwargs: Annotated[
        dict[str, Any] | str, BeforeValidator(_mapping), WithJsonSchema({"anyOf": [{"type": "object"}, _EXPRESSION]})
    ] = Field(
        default={},
        description="keyword arguments",
        examples=[{"severity": "high", "at": "$received_at"}, "$payload"],
    )
    options: Annotated[dict[str, Any], BeforeValidator(check_options)] = Field(
        default={},
        description="Dramatiq's message options",
        examples=[{"max_retries": 5, "time_limit": "30s"}],
    )
    delay: Annotated[
        int | str | None,
        BeforeValidator(or_null(_delay)),
        WithJsonSchema({"type": ["string", "null"], "pattern": rf"^({DURATION}|\$.*)$"}),
    ] = Field(
        default=None,
        description="how long after the event the message becomes due",
        examples=["10s", "$payload.wait_ms"],
    )
