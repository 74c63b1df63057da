"""The settings of tracing: in which forms the trace of an event goes on in its messages."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from bridge.config.connection import Boolean, Model
from bridge.errors import InvalidValue

#: A form of the trace in a message's options, and the option that holds it.
Form = Literal["w3c", "sentry", "otel-instrumentor"]


def _once(forms: list[Form]) -> list[Form]:
    if len(set(forms)) < len(forms):
        raise InvalidValue("names a form twice", "each form is written once into a message")
    return forms


class TracingSettings(Model):
    """How the trace of an event goes on in its messages."""

    propagate: Annotated[list[Form], AfterValidator(_once)] = Field(
        default=[],
        description="forms in which messages carry the trace; without one, events' traces are not read",
        examples=[["w3c"], ["sentry"], ["otel-instrumentor"]],
    )
    baggage: Boolean = Field(
        default=False,
        description="whether an event's baggage goes on with its trace, in the forms sentry and otel-instrumentor",
        examples=[True],
    )
