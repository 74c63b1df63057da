"""The settings and the traits of AMQP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from bridge.config import promises
from bridge.config.connection import Boolean, Model, Name, Seconds16
from bridge.config.names import AmqpArguments, AmqpKey, AmqpName, virtual_host_mistakes
from bridge.config.properties import Properties, Property, flag, octet, seconds, text, whole_second
from bridge.config.source_model import DeduplicatedSource
from bridge.config.starts import OffsetStart
from bridge.config.substitution import coerced
from bridge.config.traits import Traits
from bridge.config.wording import describe
from bridge.errors import Diagnostic, InvalidValue
from bridge.topics.amqp import AmqpTopics


class Binding(Model):
    """A binding of the queue to the exchange."""

    key: AmqpKey = Field(default="", description="routing key", examples=["order.created.*"])
    arguments: AmqpArguments = Field(
        default={},
        description="headers to fit, and x-match: all or any, where the exchange is of type headers",
        examples=[{"x-match": "any", "kind": "alarm"}],
    )


def _binding(value: object) -> object:
    if isinstance(value, str):
        return {"key": value}
    if not isinstance(value, dict):
        raise InvalidValue(f"takes a routing key, or a mapping, not {describe(value)}", "quote a key")
    return value


class Declare(Model):
    """The queue that the bridge declares in RabbitMQ, and the exchange that it binds the queue to."""

    exchange: AmqpName | None = Field(
        default=None, description="exchange to declare and to bind the queue to", examples=["shop"]
    )
    type: Literal["direct", "topic", "fanout", "headers"] = Field(
        default="topic", description="type of the exchange", examples=["fanout"]
    )
    bindings: list[
        Annotated[
            Binding,
            BeforeValidator(_binding),
            WithJsonSchema({"anyOf": [{"type": "string"}, Binding.model_json_schema()]}),
        ]
    ] = Field(
        default=[],
        description="routing keys that the queue is bound with, or {key, arguments}",
        examples=[["order.created.#"], [{"arguments": {"x-match": "any", "kind": "alarm"}}]],
    )
    durable: Boolean = Field(
        default=True, description="whether queue and exchange survive a restart of the broker", examples=[False]
    )
    arguments: AmqpArguments = Field(
        default={},
        description="arguments of the queue, such as x-queue-type",
        examples=[{"x-queue-type": "quorum", "x-delivery-limit": -1}],
    )


def _why_not_shareable_amqp(source: Amqp) -> str | None:
    return "every consumer of a stream gets every event" if source.is_stream else None


def _mistakes_stream(source: Mapping[str, Any], declare: Mapping[str, Any] | None) -> Iterator[Diagnostic]:
    arguments = (declare or {}).get("arguments")
    declares_stream = _is_stream(arguments) if isinstance(arguments, dict) else False
    is_called_stream = coerced(source.get("stream"))
    if is_called_stream is True and declare is not None and not declares_stream:
        hint = "add arguments: {x-queue-type: stream}, or remove stream"
        yield Diagnostic(("declare",), "this declares a queue, and no stream", hint, at_key=True)
    if declares_stream or is_called_stream not in (None, False):
        if source.get("deduplicate") is not None:
            problem = "an event of a stream is always recognised, by its offset"
            yield Diagnostic(("deduplicate",), problem, "remove it", at_key=True)
        if coerced(source.get("match_unfiltered")) is True and not source.get("filter"):
            yield Diagnostic(("match_unfiltered",), "there is no filter", "add filter, or remove it", at_key=True)
        return
    for key in ("start", "filter", "match_unfiltered"):
        if key in source:
            yield Diagnostic((key,), "only a stream has it", "add stream: true, if the queue is one", at_key=True)


def _is_stream(arguments: Mapping[str, Any]) -> bool:
    return arguments.get("x-queue-type") == "stream"


#: Types of queues that RabbitMQ refuses to declare without `durable`; how a message calls each.
_ALWAYS_DURABLE: Final = {"stream": "stream", "quorum": "quorum queue"}


def _mistakes_amqp(source: Mapping[str, Any]) -> Iterator[Diagnostic]:
    yield from virtual_host_mistakes(source.get("url"))
    declare = source.get("declare")
    yield from _mistakes_stream(source, declare if isinstance(declare, dict) else None)
    if not isinstance(declare, dict):
        return
    arguments = declare.get("arguments")
    kind = arguments.get("x-queue-type") if isinstance(arguments, dict) else None
    if isinstance(kind, str) and kind in _ALWAYS_DURABLE and coerced(declare.get("durable")) is False:
        yield Diagnostic(
            ("declare", "durable"),
            f"RabbitMQ has no {_ALWAYS_DURABLE[kind]} that is not durable",
            "remove it",
            at_key=True,
        )
    bindings = declare.get("bindings")
    if bindings and not declare.get("exchange"):
        yield Diagnostic(("declare", "bindings"), "the queue is bound to no exchange", "add exchange", at_key=True)
    if declare.get("type") == "headers":
        problem = "a headers exchange sends everything to a binding without arguments"
        hint = "as in bindings: [{arguments: {x-match: any, name: value}}]"
        if not bindings:
            yield Diagnostic(("declare", "type"), problem, hint)
        for index, binding in enumerate(bindings if isinstance(bindings, list) else ()):
            if not isinstance(binding, dict) or not binding.get("arguments"):
                yield Diagnostic(("declare", "bindings", index), problem, hint)


#: Arguments of a queue by which RabbitMQ drops events, and when.
_DROPPING: Final = {
    "x-message-ttl": "drops an event that has waited for so long",
    "x-expires": "deletes the queue, and its events, when it was unused for so long",
    "x-max-length": "drops the oldest events of a longer queue",
    "x-max-length-bytes": "drops the oldest events of a larger queue",
}


def _notes_amqp(source: Amqp) -> Iterator[tuple[str, str]]:
    declare = source.declare
    if isinstance(source.start, datetime) and source.start > datetime.now(UTC):
        yield (
            "start",
            (
                "has a start that is in the future: RabbitMQ does not wait for it, and brings what comes from now on;"
                " write start: new if that is meant"
            ),
        )
    if declare is None or source.is_stream:  # what a stream's retention deletes unread is counted
        return
    if not declare.durable:
        yield "declare", "declares a queue that is not durable: its events are lost when the broker restarts"
    refuses = str(declare.arguments.get("x-overflow", "")).startswith("reject-publish")
    kept = "x-dead-letter-exchange" in declare.arguments
    for argument, what in _DROPPING.items():
        if argument in declare.arguments and not kept and not (refuses and argument.startswith("x-max-length")):
            yield "declare", f"declares a queue with {argument}: RabbitMQ {what}, without a trace"
    if declare.arguments.get("x-queue-type") == "quorum" and (limit := delivery_limit(declare.arguments)):
        yield (
            "declare",
            (
                f"declares a quorum queue of which RabbitMQ 4 drops an event that it has delivered {limit} times;"
                " add x-delivery-limit: -1 or x-dead-letter-exchange to its arguments"
            ),
        )


def delivery_limit(arguments: Mapping[str, Any]) -> int | None:
    """Return how often RabbitMQ 4 delivers an event of a quorum queue with these arguments before it drops it; None: never."""
    limit = arguments.get("x-delivery-limit", 20)
    # A dead-letter exchange may be the default one, "".
    return None if limit == -1 or "x-dead-letter-exchange" in arguments else limit


_META: Final = {
    "message_id": Property(text),
    "correlation_id": Property(text),
    "reply_to": Property(text),
    "content_type": Property(text),
    "content_encoding": Property(text),
    "type": Property(text),
    "app_id": Property(text),
    "user_id": Property(text),
    "priority": Property(octet),
    "timestamp": Property(whole_second),
    "expires_in": Property(seconds),
    "exchange": Property(text, ""),
    "redelivered": Property(flag, default=False),
}
_PROPERTIES: Final = Properties(_META, "json")
#: RabbitMQ gives each event of a stream its offset.
_STREAM_PROPERTIES: Final = Properties(_META, "json", default_headers={"x-stream-offset": 0})


class Amqp(DeduplicatedSource):
    """A queue of RabbitMQ."""

    schemes: ClassVar[tuple[str, ...]] = ("amqp", "amqps")
    tls_scheme: ClassVar[str] = "amqps"
    traits: ClassVar[Traits[Any]] = Traits["Amqp"](
        topics=AmqpTopics,
        known_topics=lambda _: None,
        why_not_brought=lambda _source, _topics, _topic: "",
        promise=lambda source, _: promises.AMQP_STREAM if source.is_stream else promises.AMQP,
        dead_letters_unmatched=True,
        properties=lambda source: _STREAM_PROPERTIES if source.is_stream else _PROPERTIES,
        presents_json=lambda _: False,
        exclusive=lambda _: None,
        no_deduplicate=None,
        why_not_shareable=_why_not_shareable_amqp,
        for_process=lambda source, _: source,
        mistakes=_mistakes_amqp,
        notes=_notes_amqp,
    )

    type: Literal["amqp"] = Field(description="protocol of the source")
    url: str = Field(
        description="where to connect, as in amqp://localhost/", examples=["amqps://rabbit.example.com/production"]
    )
    queue: AmqpName = Field(description="queue to consume", examples=["orders"])
    stream: Boolean = Field(
        default=False, description="whether the queue is a stream; one that `declare` makes is known", examples=[True]
    )
    start: OffsetStart = Field(
        default="beginning",
        description="where a stream is read from at first: beginning, new, an offset, or a time (of which earlier events come too)",
        examples=["new", 1500, "2026-11-27T06:00:00Z"],
    )
    filter: list[Name] = Field(
        default=[],
        description="values of x-stream-filter-value: RabbitMQ leaves out most of a stream's other events",
        examples=[["alarms"]],
    )
    match_unfiltered: Boolean = Field(
        default=False, description="with `filter`: whether events without a value come too", examples=[True]
    )
    heartbeat: Seconds16 = Field(
        default=10_000, description="interval of heartbeats; a dead link is noticed after about three"
    )
    declare: Declare | None = Field(
        default=None,
        description="queue, exchange and bindings to declare; without it the queue must exist",
        examples=[{"exchange": "shop", "bindings": ["order.#"]}],
    )
    fast_path: Boolean = Field(
        default=True,
        description="whether the bridge itself reads deliveries, instead of the AMQP library",
        examples=[False],
    )

    @property
    def is_stream(self) -> bool:
        """Whether the file says that the queue is a stream."""
        return self.stream or (self.declare is not None and _is_stream(self.declare.arguments))
