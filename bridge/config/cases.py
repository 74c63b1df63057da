"""`tests:`: events, and the messages and dead letters that the routes make of them, as data."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema, model_validator

from bridge.config.connection import Integer, Model, Name, or_null
from bridge.config.message_options import OPTIONS, Kind, check_options
from bridge.config.substitution import unmarked
from bridge.config.times import MIN_MILLISECONDS, parse_time
from bridge.config.units import parse_duration
from bridge.config.validation_errors import translate
from bridge.config.wording import describe
from bridge.errors import DeadLetterReason, Diagnostic, InvalidValue

_AS_LETTER: Final = "as in {reason: missing-field}"
_BODIES: Final = ("payload", "body", "payload_base64", "payload_file")


def _base64(value: object) -> object:
    if not isinstance(value, str):
        raise InvalidValue(f"takes text, not {describe(value)}")
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidValue("takes bytes in base64", "`base64 FILE` prints them") from None


def _options(value: object) -> dict[str, object]:
    """Return expected options in the form of a message: durations in milliseconds, pipelines with their defaults."""
    return check_options(_with_units(value))


def _with_units(options: object) -> object:
    """Return options as a route writes them: milliseconds, which is how a failure shows a duration, get their unit."""
    if not isinstance(options, dict):
        return options
    read: dict[str, object] = {}
    for name, value in options.items():
        kind = OPTIONS.get(name)
        if kind is Kind.MILLISECONDS and type(value) is int:
            read[name] = f"{value}ms"
        elif kind is Kind.MESSAGES and isinstance(value, list):
            read[name] = [_message(item) for item in value]
        else:
            read[name] = _message(value) if kind is Kind.MESSAGE else value
    return read


def _message(value: object) -> object:
    if isinstance(value, dict) and "options" in value:
        return {**value, "options": _with_units(value["options"])}
    return value


#: Milliseconds since 1970.
Time = Annotated[
    int,
    BeforeValidator(parse_time),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer", "minimum": MIN_MILLISECONDS}]}
    ),
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
    meta: Annotated[dict[str, Any], BeforeValidator(unmarked)] = Field(
        default={},
        description="properties that the protocol has; without one, its default",
        examples=[{"message_id": "m-1", "retain": True}],
    )
    received_at: Time | None = Field(
        default=None,
        description="when the event came, as now; without it, the test's now",
        examples=["2026-11-27T06:00:00Z"],
    )

    @model_validator(mode="after")
    def _one_body(self) -> EventCase:
        given = [name for name in _BODIES if name in self.model_fields_set]
        if len(given) > 1:
            message = f"an event has one body, here are {' and '.join(given)}"
            raise InvalidValue.of([Diagnostic((given[1],), message, "leave all but one out", at_key=True)])
        return self


class ExpectedStep(Model):
    """A step of `then` that a test expects: the fields that are given are compared."""

    actor: str | None = Field(default=None, description="actor that it calls", examples=["send_receipt"])
    queue: str | None = Field(default=None, description="its queue", examples=["mail"])
    args: Annotated[list[Any] | None, BeforeValidator(unmarked)] = Field(
        default=None, description="its positional arguments, without the result", examples=[["A1"]]
    )
    kwargs: Annotated[dict[str, Any] | None, BeforeValidator(unmarked)] = Field(
        default=None, description="its keyword arguments, whole", examples=[{"severity": "high"}]
    )
    options: Annotated[dict[str, Any] | None, BeforeValidator(or_null(_options))] = Field(
        default=None, description="its options, whole, as a route writes them", examples=[{"max_retries": 5}]
    )
    delay: Annotated[int | None, BeforeValidator(or_null(parse_duration)), WithJsonSchema({"type": "string"})] = Field(
        default=None, description="how long after the step before it becomes due", examples=["10s"]
    )
    message_id: str | None = Field(default=None, description="its id", examples=["order-7"])
    ignore_result: bool | None = Field(
        default=None, description="whether it is called without the result of the step before", examples=[True]
    )


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
        default=None, description="how long after now it becomes due; null: at once", examples=["10s"]
    )
    then: list[ExpectedStep] | None = Field(
        default=None, description="the steps behind it, all of them", examples=[[{"actor": "send_receipt"}]]
    )

    @model_validator(mode="after")
    def _names_a_field(self) -> ExpectedMessage:
        if not self.model_fields_set:
            raise InvalidValue("every message fits this", "name its route, and the args that it must have")
        return self


class ExpectedDeadLetter(Model):
    """A dead letter that a test expects."""

    reason: Literal[DeadLetterReason] = Field(description="its reason", examples=["missing-field"])
    route: str | None = Field(
        default=None, description="the route that failed; without it, any", examples=["oven-too-hot"]
    )


def _letters(value: object) -> object:
    """Take one dead letter, or a list of them; the places of their mistakes are those in the file."""
    if isinstance(value, list):
        letters: list[object] = []
        mistakes: list[Diagnostic] = []
        for number, each in enumerate(value):
            try:
                letters.append(_letter(each))
            except InvalidValue as error:
                mistakes += [diagnostic.below((number,)) for diagnostic in error.diagnostics]
        if mistakes:
            raise InvalidValue.of(mistakes)
        return letters
    if not isinstance(value, (dict, ExpectedDeadLetter)):
        raise InvalidValue(f"takes a mapping, or a list of them, not {describe(value)}", _AS_LETTER)
    return _letter(value)


def _letter(value: object) -> ExpectedDeadLetter:
    if not isinstance(value, (dict, ExpectedDeadLetter)):
        raise InvalidValue(f"takes a mapping, not {describe(value)}", _AS_LETTER)
    try:
        return ExpectedDeadLetter.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        raise InvalidValue.of([*translate(error, ExpectedDeadLetter)]) from None


def _counts(value: object) -> object:
    if not isinstance(value, dict) or not value:
        raise InvalidValue("takes a mapping of numbers", "as in {deduplicated: 1}")
    return value


CountName = Literal["deduplicated", "expired"]
Count = Annotated[Integer, Field(ge=0)]


class Case(Model):
    """One test: an event, and everything that becomes of it."""

    name: Name = Field(description="the test's name, in the output", examples=["a hot oven raises the alarm"])
    event: EventCase = Field(
        description="the event", examples=[{"from": "plant", "topic": "plants/3", "payload": {"celsius": 300}}]
    )
    now: Time | None = Field(
        default=None,
        description="the time of the test, for now(), delays and timestamps: with its zone, or in milliseconds since 1970",
        examples=["2026-11-27T06:00:00Z"],
    )
    expect: list[ExpectedMessage] | None = Field(
        default=None,
        description="every message that the routes make of the event, those of one route in their order; [] means none",
        examples=[[{"route": "oven-too-hot", "args": ["3", 300]}], []],
    )
    expect_dead_letter: Annotated[ExpectedDeadLetter | list[ExpectedDeadLetter], BeforeValidator(_letters)] = Field(
        default=[],
        description="the dead letter of the event, or a list of them",
        examples=[{"reason": "missing-field"}],
    )

    expect_counts: Annotated[dict[CountName, Count], BeforeValidator(_counts)] = Field(
        default={},
        description="how many messages are not written since their keys were there, and for how many routes the event's time is up",
        examples=[{"deduplicated": 1}, {"expired": 1}],
    )

    @property
    def dead_letters(self) -> list[ExpectedDeadLetter]:
        """The dead letters that the test expects."""
        letters = self.expect_dead_letter
        return letters if isinstance(letters, list) else [letters]

    @model_validator(mode="after")
    def _expects(self) -> Case:
        if self.expect is None and not self.dead_letters and not self.expect_counts:
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
