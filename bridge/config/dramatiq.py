"""`dramatiq:`, the Redis in which the workers look for messages, and the bounds from which the sources pause."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from bridge.config.connection import Boolean, Connection, Timeout, or_null
from bridge.config.message_options import check_queue_name
from bridge.config.substitution import coerced
from bridge.config.units import SHARE, parse_share
from bridge.config.wording import describe
from bridge.errors import Diagnostic, InvalidValue

_DEPTH = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^\$\{"}]}


def _namespace(value: str) -> str:
    if not value or any(char.isspace() for char in value):
        raise InvalidValue("takes text without spaces", "as the workers have it; usually dramatiq")
    return value


def _depths(value: object) -> object:
    """Return the bounds by queue; `*` stands for every queue without its own."""
    if not isinstance(value, dict):
        return {"*": _depth(value, 'or a mapping of queues, as in {alarms: 5000, "*": 100000}')}
    depths: dict[str, int] = {}
    diagnostics: list[Diagnostic] = []
    for queue, depth in value.items():
        at_key = queue != "*"
        try:
            if at_key:
                check_queue_name(queue)
            at_key = False
            depths[queue] = _depth(depth)
        except InvalidValue as error:
            diagnostics += [replace(diagnostic, path=(queue,), at_key=at_key) for diagnostic in error.diagnostics]
    if diagnostics:
        raise InvalidValue.of(diagnostics)
    return depths


def _depth(value: object, hint: str = "") -> int:
    number = coerced(value)
    if type(number) is not int:
        kind = "a fraction" if type(number) is float else describe(value)
        raise InvalidValue(f"takes a whole number, not {kind}", hint)
    if number < 1:
        raise InvalidValue("takes a number from 1")
    return number


class Dramatiq(Connection):
    """The Redis in which the workers look for messages."""

    url: str = Field(
        default="redis://localhost:6379/0",
        description="the workers' Redis",
        examples=["rediss://redis.example.com:6380/0"],
    )
    namespace: Annotated[str, AfterValidator(_namespace)] = Field(
        default="dramatiq", description="the workers' namespace", examples=["dramatiq"]
    )
    timeout: Timeout = Field(default=10_000, description="how long one write may take")
    max_queue_depth: Annotated[
        dict[str, int] | None,
        BeforeValidator(or_null(_depths)),
        WithJsonSchema({"anyOf": [_DEPTH, {"type": "object", "additionalProperties": _DEPTH}, {"type": "null"}]}),
    ] = Field(
        default=None,
        description="messages in a queue from which its sources pause; or a mapping of queues, * for the others",
        examples=[100_000, {"alarms": 5_000, "*": 100_000}],
    )
    max_memory: Annotated[
        int | None,
        BeforeValidator(or_null(parse_share)),
        WithJsonSchema({"type": ["string", "null"], "pattern": rf"^({SHARE}|\$\{{.*)$"}),
    ] = Field(
        default=90,
        description="share of Redis's maxmemory from which every source pauses; null: no bound",
        examples=["80%"],
    )
    allow_eviction: Boolean = Field(
        default=False,
        description="whether the bridge is ready though Redis deletes messages when it is full",
        examples=[True],
    )
