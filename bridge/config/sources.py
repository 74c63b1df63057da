"""The sources' settings, one model per protocol."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from bridge.config.connection import (
    Boolean,
    Bytes,
    Connection,
    Integer,
    Milliseconds,
    Model,
    Name,
    Timeout,
    at_least,
    or_null,
)
from bridge.config.substitution import coerced, unmarked
from bridge.config.units import spell_size
from bridge.config.wording import describe
from bridge.errors import InvalidValue

Decode = Literal["json", "text", "msgpack", "cbor", "bytes", "auto"]
Unmatched = Literal["dead-letter", "drop"]


def _at_least_1b(size: int) -> int:
    if size < 1:
        raise InvalidValue(f"takes a size of at least {spell_size(1)}")
    return size


def _version(value: object) -> object:
    value = coerced(value)
    # A 5 needs no quotes, as 3.1.1 needs none.
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _identity(value: object) -> object:
    if not isinstance(value, str):
        raise InvalidValue(f"takes an expression, not {describe(value)}", "as in $meta.message_id")
    if not value.startswith("$") or value.startswith("$$"):
        raise InvalidValue("takes an expression, which begins with $", "as in $meta.message_id")
    return str(value)


Size = Annotated[Bytes, AfterValidator(_at_least_1b)]
#: Protocols count these in seconds, in two or four bytes.
Seconds16 = Annotated[Milliseconds, at_least(1_000, 65_535_000)]
Seconds32 = Annotated[Milliseconds, at_least(0, 4_294_967_295_000)]


class Window(Model):
    """How much may be received and not yet settled."""

    events: Annotated[Integer, Field(ge=1, le=65_535)] = Field(default=1_000, description="events at most")
    bytes: Size = Field(default=16 << 20, description="bytes of their bodies at most")


class WideWindow(Window):
    """The window where nothing comes twice for its sake."""

    events: Annotated[Integer, Field(ge=1, le=65_535)] = Field(default=4_000, description="events at most")


class SourceModel(Connection):
    """What every source has."""

    dead_letters_unmatched: ClassVar[bool] = False
    #: Keys that only other sources have, and why this one has not.
    without: ClassVar[dict[str, str]] = {}

    decode: Decode = Field(default="json", description="how a body becomes the payload")
    unmatched: Unmatched | None = Field(
        default=None,
        description="what becomes of an event that fits no route's topic; dead-letter for queues, otherwise drop",
    )
    window: Annotated[Window, Field(description="how much may be in flight")] = Window()
    max_body: Size = Field(default=256 << 10, description="size of a body from which an event is a dead letter")

    @property
    def dead_letter_unmatched(self) -> bool:
        """Whether an event that fits no route's topic is kept as a dead letter."""
        return self.dead_letters_unmatched if self.unmatched is None else self.unmatched == "dead-letter"


class IdentifiedSource(SourceModel):
    """What a source has whose broker may deliver an event again, and has no name for it that always holds."""

    identity: Annotated[
        str | None,
        BeforeValidator(or_null(_identity)),
        WithJsonSchema({"type": ["string", "null"], "pattern": r"^\$"}),
    ] = Field(
        default=None, description="expression that tells an event from every other; one that comes again is dropped"
    )
    identity_window: Annotated[Milliseconds, at_least(1_000)] = Field(
        default=86_400_000, description="how long an identity is remembered"
    )


class Declare(Model):
    """What the bridge declares in RabbitMQ: the queue, and where it is bound."""

    exchange: Name | None = Field(default=None, description="exchange to declare and to bind the queue to")
    type: Literal["direct", "topic", "fanout", "headers"] = Field(default="topic", description="type of the exchange")
    bindings: list[str] = Field(default=[], description="routing keys that the queue is bound with")
    durable: Boolean = Field(default=True, description="whether queue and exchange survive a restart of the broker")
    arguments: Annotated[dict[str, Any], BeforeValidator(unmarked)] = Field(
        default={}, description="arguments of the queue, such as x-queue-type"
    )


class Amqp(IdentifiedSource):
    """A queue of RabbitMQ."""

    schemes: ClassVar[tuple[str, ...]] = ("amqp", "amqps")
    dead_letters_unmatched: ClassVar[bool] = True

    type: Literal["amqp"] = Field(description="protocol of the source")
    url: str = Field(description="where to connect, as in amqp://localhost/")
    queue: Annotated[Name, Field(max_length=255)] = Field(description="queue to consume")
    heartbeat: Seconds16 = Field(
        default=10_000, description="interval of heartbeats; a dead link is noticed after about three"
    )
    declare: Declare | None = Field(default=None, description="what to declare; without it the queue must exist")
    fast_path: Boolean = Field(
        default=True, description="whether the bridge itself reads deliveries, instead of the AMQP library"
    )


class Mqtt(IdentifiedSource):
    """Topics of an MQTT broker."""

    schemes: ClassVar[tuple[str, ...]] = ("mqtt", "mqtts")

    type: Literal["mqtt"] = Field(description="protocol of the source")
    url: str = Field(description="where to connect, as in mqtt://localhost:1883")
    client_id: Name | None = Field(default=None, description="fixed id, which a persistent session needs")
    version: Annotated[
        Literal["5", "3.1.1"], BeforeValidator(_version), WithJsonSchema({"enum": [5, "5", "3.1.1"]})
    ] = Field(default="5", description="version of MQTT")
    qos: Annotated[Literal[0, 1], BeforeValidator(coerced)] = Field(
        default=1, description="quality of service to subscribe at"
    )
    topics: list[Name] = Field(default=[], description="filters to subscribe to; without them, what the routes need")
    keepalive: Seconds16 = Field(default=30_000, description="interval of pings")
    session_expiry: Seconds32 = Field(default=7 * 86_400_000, description="how long the broker keeps the session")
    fast_path: Boolean = Field(
        default=True, description="whether the bridge itself reads messages, instead of the MQTT library"
    )

    @property
    def keeps_session(self) -> bool:
        """Whether the broker keeps the session, and its subscriptions, beyond the connection: counted in seconds."""
        return self.client_id is not None and (self.version != "5" or self.session_expiry >= 1000)

    @property
    def durable(self) -> bool:
        """Whether the broker keeps what is not acknowledged beyond the connection."""
        return self.qos > 0 and self.keeps_session


class RedisPubsub(SourceModel):
    """Channels of Redis pub/sub."""

    without: ClassVar[dict[str, str]] = dict.fromkeys(
        ("identity", "identity_window"),
        "Redis pub/sub never delivers a message again, so there is nothing to recognise",
    )

    window: Annotated[WideWindow, Field(description="how much may be in flight")] = WideWindow()
    type: Literal["redis-pubsub"] = Field(description="protocol of the source")
    channels: list[Name] = Field(default=[], description="channels to subscribe to")
    patterns: list[Name] = Field(default=[], description="patterns of channels to subscribe to")


class RedisStream(SourceModel):
    """Streams of Redis, read by a consumer group."""

    dead_letters_unmatched: ClassVar[bool] = True
    without: ClassVar[dict[str, str]] = dict.fromkeys(
        ("identity", "identity_window"), "an entry of a stream is always recognised, by its id"
    )

    window: Annotated[WideWindow, Field(description="how much may be in flight")] = WideWindow()
    type: Literal["redis-stream"] = Field(description="protocol of the source")
    streams: Annotated[list[Name], Field(min_length=1)] = Field(description="keys of the streams to read")
    group: Name = Field(description="consumer group; it is made where it is missing")
    consumer: Name | None = Field(
        default=None, description="name in the group; without it, one that is this host's own"
    )
    start: Literal["beginning", "new"] = Field(default="beginning", description="where a new group starts")
    field: Name | None = Field(
        default=None,
        description="field of an entry that is the body; without it the payload is the object of all fields",
    )
    claim_after: Timeout = Field(default=60_000, description="when an entry that another consumer holds is taken over")


SourceConfig = Annotated[Amqp | Mqtt | RedisPubsub | RedisStream, Field(discriminator="type")]
