"""`tests:`: events, and the messages and dead letters that the routes make of them, as data."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from bridge.config.connection import Model, Name, or_null
from bridge.config.message_options import OPTIONS, Kind
from bridge.config.substitution import unmarked
from bridge.config.units import parse_duration
from bridge.config.wording import describe
from bridge.errors import DeadLetterReason, Diagnostic, InvalidValue
from bridge.model.event import META_NAMES

_TIME: Final = "2026-11-27T06:00:00Z"
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_BODIES: Final = ("payload", "body", "payload_base64", "payload_file")


def parse_time(value: object) -> int:
    """Return the milliseconds since 1970 of a time with its zone, or of milliseconds."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return int(value)
    if not isinstance(value, str):
        raise InvalidValue(f"takes a time, or milliseconds since 1970, not {describe(value)}", f"as in {_TIME}")
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise InvalidValue("takes a time that exists", f"as in {_TIME}") from None
    if time.tzinfo is None or time < _EPOCH:
        raise InvalidValue("takes a time after 1970 with its zone", f"as in {_TIME}")
    return (time - _EPOCH) // timedelta(milliseconds=1)


def _base64(value: object) -> object:
    if not isinstance(value, str):
        raise InvalidValue(f"takes text, not {describe(value)}")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidValue("takes bytes in base64", "`base64 FILE` prints them") from None


def _meta(value: object) -> object:
    if not isinstance(value, dict):
        raise InvalidValue(f"takes a mapping, not {describe(value)}")
    unknown = [
        Diagnostic((name,), f"meta has no {name!r}", f"it has {', '.join(META_NAMES)}", at_key=True)
        for name in value
        if name not in META_NAMES
    ]
    if unknown:
        raise InvalidValue.of(unknown)
    return unmarked(value)


def _options(value: object) -> object:
    """Return expected options with durations as a worker reads them, in milliseconds."""
    if not isinstance(value, dict):
        raise InvalidValue(f"takes a mapping of options, not {describe(value)}")
    read: dict[str, object] = {}
    for name, option in value.items():
        is_duration = OPTIONS.get(name) is Kind.MILLISECONDS and isinstance(option, str)
        try:
            read[name] = parse_duration(option) if is_duration else unmarked(option)
        except InvalidValue as error:
            raise InvalidValue.of([diagnostic.below((name,)) for diagnostic in error.diagnostics]) from None
    return read


def _one_or_many(entry: dict[str, Any]) -> None:
    """Let the schema of a list take one of its items as well."""
    entry["anyOf"] = [entry["items"], {"type": entry.pop("type"), "items": entry.pop("items")}]


def _letters(value: object) -> object:
    """Take one dead letter for a list of one."""
    return [value] if isinstance(value, dict) else value


#: Milliseconds since 1970.
Time = Annotated[
    int,
    BeforeValidator(parse_time),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer", "minimum": 0}]}),
]
#: Any value of YAML, without the marks of what was substituted.
Plain = Annotated[Any, BeforeValidator(unmarked)]


class EventCase(Model):
    """The event of a test: it has one body, written in one of four ways."""

    source: str = Field(
        validation_alias="from", serialization_alias="from", description="name of the source", examples=["plant"]
    )
    topic: str = Field(
        default="",
        description="MQTT topic, AMQP routing key, Redis channel or stream",
        examples=["plants/3/ovens/7/temperature"],
    )
    payload: Plain = Field(
        default=None,
        description="the decoded body; it is written in the format of the source",
        examples=[{"celsius": 300}],
    )
    body: str | None = Field(
        default=None, description="the body as text, as the source would bring it", examples=["300"]
    )
    payload_base64: Annotated[bytes | None, BeforeValidator(or_null(_base64)), WithJsonSchema({"type": "string"})] = (
        Field(default=None, description="the body as bytes, in base64", examples=["gaFhAQ=="])
    )
    payload_file: Name | None = Field(
        default=None, description="a file that is the body, beside this one", examples=["bodies/hot.cbor"]
    )
    headers: Annotated[dict[str, Any], BeforeValidator(unmarked)] = Field(
        default={}, description="AMQP's headers or MQTT's user properties", examples=[{"x-tenant": "north"}]
    )
    meta: Annotated[dict[str, Any], BeforeValidator(_meta)] = Field(
        default={},
        description="properties of the protocol, as in {message_id: m-1, retain: true}",
        examples=[{"message_id": "m-1", "retain": True}],
    )
    received_at: Time | None = Field(
        default=None, description="when the event came; without it, the test's now", examples=["2026-11-27T06:00:00Z"]
    )

    @model_validator(mode="after")
    def _one_body(self) -> EventCase:
        given = [name for name in _BODIES if name in self.model_fields_set]
        if len(given) > 1:
            message = f"an event has one body, here are {' and '.join(given)}"
            raise InvalidValue.of([Diagnostic((given[1],), message, "leave all but one out", at_key=True)])
        return self


class ExpectedMessage(Model):
    """A message that a test expects: the fields that are given are compared."""

    route: str | None = Field(default=None, description="name of the route that makes it", examples=["oven-too-hot"])
    actor: str | None = Field(default=None, description="actor that it calls", examples=["raise_alarm"])
    queue: str | None = Field(default=None, description="its queue, without .DQ", examples=["alarms"])
    args: Annotated[list[Any] | None, BeforeValidator(unmarked)] = Field(
        default=None, description="its positional arguments, whole; 1 is neither 1.0 nor text", examples=[["3", 7, 300]]
    )
    kwargs: Annotated[dict[str, Any] | None, BeforeValidator(unmarked)] = Field(
        default=None, description="its keyword arguments, whole", examples=[{"severity": "high"}]
    )
    options: Annotated[dict[str, Any] | None, BeforeValidator(or_null(_options))] = Field(
        default=None,
        description="its options, whole, as a route writes them",
        examples=[{"max_retries": 5, "time_limit": "30s"}],
    )
    delay: Annotated[int | None, BeforeValidator(or_null(parse_duration)), WithJsonSchema({"type": "string"})] = Field(
        default=None, description="how long after now it becomes due", examples=["10s"]
    )


class ExpectedDeadLetter(Model):
    """A dead letter that a test expects."""

    reason: Literal[DeadLetterReason] = Field(description="its reason", examples=["missing-field"])
    route: str | None = Field(
        default=None, description="the route that failed; without it, any", examples=["oven-too-hot"]
    )


class Case(Model):
    """One test: an event, and everything that becomes of it."""

    name: Name = Field(description="the test's name, in the output", examples=["a hot oven raises the alarm"])
    event: EventCase = Field(
        description="the event", examples=[{"from": "plant", "topic": "plants/3", "payload": {"celsius": 300}}]
    )
    now: Time | None = Field(
        default=None,
        description="the time of the test, for now(), delays and timestamps",
        examples=["2026-11-27T06:00:00Z"],
    )
    expect: list[ExpectedMessage] | None = Field(
        default=None,
        description="every message that the routes make of the event; [] means none",
        examples=[[{"route": "oven-too-hot", "args": ["3", 300]}], []],
    )
    expect_dead_letter: Annotated[list[ExpectedDeadLetter], BeforeValidator(_letters)] = Field(
        default=[],
        description="the dead letter of the event, or a list of them",
        examples=[{"reason": "missing-field"}],
        json_schema_extra=_one_or_many,
    )

    @model_validator(mode="after")
    def _expects(self) -> Case:
        if self.expect is None and not self.expect_dead_letter:
            message = "this test expects nothing"
            raise InvalidValue.of([Diagnostic((), message, "add expect: [], if no message is right", at_key=True)])
        return self


class CaseFile(Model):
    """The file NAME_test.yaml beside NAME.yaml."""

    tests: list[Case] = Field(
        min_length=1,
        description="the tests",
        examples=[[{"name": "a warm oven", "event": {"from": "plant", "payload": {"celsius": 20}}, "expect": []}]],
    )
