"""The sources: the settings and the traits of each protocol, one class each; those of AMQP are in `amqp.py`.

No other file outside `bridge/sources` knows a protocol by its name.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Annotated, Any, ClassVar, Final, Literal, get_args

from pydantic import BeforeValidator, Field, WithJsonSchema

from bridge.config import promises
from bridge.config.amqp import Amqp
from bridge.config.connection import Boolean, Milliseconds, Name, Seconds16, Timeout, at_least
from bridge.config.names import ClientId, MqttFilter, mqtt_login_mistakes, process_client_id, split
from bridge.config.promises import Promise
from bridge.config.properties import Properties, Property, entry_id, flag, text, up_to, whole_seconds
from bridge.config.source_model import DeduplicatedSource, SourceModel, WideWindow
from bridge.config.starts import EntryStart
from bridge.config.substitution import coerced
from bridge.config.traits import Surroundings, Traits
from bridge.config.units import spell_duration, spell_size
from bridge.errors import Diagnostic
from bridge.topics.mqtt import MqttTopics, covers, needed_filters, subscription, without_share
from bridge.topics.pattern import Pattern
from bridge.topics.redis import RedisTopics, can_overlap

#: So many names are shown of those that a source has.
_MAX_LISTED: Final = 10
#: So many patterns of a source are compared with each other.
_MAX_COMPARED: Final = 100
#: MQTT counts these in seconds, in four bytes.
Seconds32 = Annotated[Milliseconds, at_least(0, 4_294_967_295_000)]


def _version(value: object) -> object:
    value = coerced(value)
    # A 5 needs no quotes, as 3.1.1 needs none.
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _promise_mqtt(source: Mqtt, surroundings: Surroundings) -> Promise:
    if not source.durable:
        return _at_most_once(promises.MQTT_QOS_0, source, surroundings)
    kept = "while it keeps the session"
    if source.version == "5":
        kept = f"for {spell_duration(source.session_expiry // 1000 * 1000)}"
    has_spool = surroundings.spool_bytes is not None
    limits = "" if has_spool else "; no spool, so in an outage of Redis its limits count"
    return replace(promises.MQTT_QOS_1, guarantee=f"at least once of what the broker holds {kept}{limits}")


def _at_most_once(promise: Promise, source: SourceModel, surroundings: Surroundings) -> Promise:
    """Return the promise for events that nobody keeps, with the cost of having no spool."""
    if surroundings.spool_bytes is None:
        window = f"{source.window.events} events or {spell_size(source.window.bytes)}"
        guarantee = f"at most once; no spool, so in an outage of Redis what comes beyond {window} is lost"
    else:
        size = spell_size(surroundings.spool_bytes)
        guarantee = f"at most once until received; then an outage of Redis loses nothing up to {size}"
    return replace(promise, guarantee=guarantee)


def _why_not_shareable_mqtt(source: Mqtt) -> str | None:
    if source.version != "5":
        return "MQTT 3.1.1 has no shared subscriptions"
    if source.topics and all(topic.startswith("$share/") for topic in source.topics):
        return None
    return "only topics of a shared subscription are shared, as in topics: [$share/bridge/plants/#]"


def _for_process_mqtt(source: Mqtt, number: int) -> Mqtt:
    if source.client_id is None:
        return source
    return source.model_copy(update={"client_id": process_client_id(source.client_id, number)})


def _mistakes_mqtt(source: Mapping[str, Any]) -> Iterator[Diagnostic]:
    yield from mqtt_login_mistakes(source)
    if source.get("session_expiry") not in (None, "0s") and source.get("client_id") is None:
        yield Diagnostic(("session_expiry",), "a session is kept for a fixed client only", "add client_id")
    parts = split(source.get("url"))
    has_user = bool(source.get("username") or (parts and parts.username))
    if source.get("password") not in (None, "") and not has_user and str(source.get("version")) == "3.1.1":
        yield Diagnostic(("password",), "MQTT 3.1.1 takes no password without a username", "add username")


def _notes_mqtt(source: Mqtt) -> Iterator[tuple[str, str]]:
    if source.qos > 0 and source.client_id is None:
        yield (
            "",
            (
                "has no client_id, so its session ends with the connection:"
                " what is published while the bridge is away is lost"
            ),
        )
    if source.version == "3.1.1" and any(topic.startswith("$share/") for topic in source.topics):
        yield (
            "topics",
            (
                "uses a shared subscription with MQTT 3.1.1, which does not know them: a broker without them takes $share/..."
                " for a topic, and nothing comes"
            ),
        )
    if source.dead_letter_unmatched and not source.topics:
        yield (
            "unmatched",
            (
                "makes no dead letter of an unmatched event: it subscribes to what its routes need, and gets no other event;"
                " add topics"
            ),
        )


def _exclusive_mqtt(source: Mapping[str, Any]) -> tuple[str, object] | None:
    parts = split(source.get("url"))
    client_id = source.get("client_id")
    if parts is None or not isinstance(client_id, str):
        return None
    default = 8883 if parts.scheme == "mqtts" else 1883
    return "client_id", (parts.hostname, parts.port or default, client_id)


def _why_not_brought_mqtt(source: Mqtt, topics: Sequence[str | None], topic: str) -> str:
    # Of thousands of filters it takes far longer to find those that are needed than to ask all of them.
    wanted = source.topics or [subscription(each) if each is not None else "#" for each in topics]
    if any(covers(without_share(each), topic) for each in wanted):
        return ""
    filters = needed_filters(source.topics, topics)
    return (
        f"the bridge does not subscribe to this topic: {_listed('it subscribes to', filters) or 'no route needs one'}"
    )


def _listed(words: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return f"{words} {', '.join(names[:_MAX_LISTED])}{more}" if names else ""


def _properties_mqtt(source: Mqtt) -> Properties:
    meta = {"qos": Property(up_to(source.qos), source.qos), "retain": Property(flag, default=False)}
    meta["redelivered"] = Property(flag, default=False)
    if source.version != "5":
        return Properties(meta, None, "MQTT 3.1.1 has no user properties")
    for name in ("reply_to", "content_type", "correlation_id"):
        meta[name] = Property(text)
    return Properties({**meta, "expires_in": Property(whole_seconds)}, "text")


class Mqtt(DeduplicatedSource):
    """Topics of an MQTT broker."""

    schemes: ClassVar[tuple[str, ...]] = ("mqtt", "mqtts")
    tls_scheme: ClassVar[str] = "mqtts"
    traits: ClassVar[Traits[Any]] = Traits["Mqtt"](
        topics=MqttTopics,
        known_topics=lambda _: None,
        why_not_brought=_why_not_brought_mqtt,
        promise=_promise_mqtt,
        dead_letters_unmatched=False,
        properties=_properties_mqtt,
        presents_json=lambda _: False,
        no_deduplicate=None,
        exclusive=_exclusive_mqtt,
        why_not_shareable=_why_not_shareable_mqtt,
        for_process=_for_process_mqtt,
        mistakes=_mistakes_mqtt,
        notes=_notes_mqtt,
    )

    type: Literal["mqtt"] = Field(description="protocol of the source", examples=["mqtt"])
    url: str = Field(
        description="where to connect, as in mqtt://localhost:1883", examples=["mqtts://broker.example.com:8883"]
    )
    client_id: ClientId | None = Field(
        default=None, description="fixed id, which a persistent session needs", examples=["bridge-plant"]
    )
    version: Annotated[
        Literal["5", "3.1.1"], BeforeValidator(_version), WithJsonSchema({"enum": [5, "5", "3.1.1"]})
    ] = Field(default="5", description="version of MQTT", examples=["3.1.1"])
    qos: Annotated[Literal[0, 1], BeforeValidator(coerced)] = Field(
        default=1, description="quality of service to subscribe at", examples=[0]
    )
    topics: list[MqttFilter] = Field(
        default=[],
        description="filters to subscribe to; without them, those that the routes need",
        examples=[["plants/#"], ["$share/bridge/plants/#"]],
    )
    keepalive: Seconds16 = Field(default=30_000, description="interval of pings")
    session_expiry: Seconds32 = Field(default=7 * 86_400_000, description="how long the broker keeps the session")
    fast_path: Boolean = Field(
        default=True,
        description="whether the bridge itself reads messages, instead of the MQTT library",
        examples=[False],
    )

    @property
    def keeps_session(self) -> bool:
        """Whether the broker keeps the session and its subscriptions beyond the connection; it counts in seconds."""
        return self.client_id is not None and (self.version != "5" or self.session_expiry >= 1000)

    @property
    def durable(self) -> bool:
        """Whether the broker keeps unacknowledged events beyond the connection, and delivers them again."""
        return self.qos > 0 and self.keeps_session


def _notes_pubsub(source: RedisPubsub) -> Iterator[tuple[str, str]]:
    for channel in source.channels:
        if set(channel) & set("*?["):
            yield "channels", f"has the channel {channel!r}, whose wildcard is a character: wildcards stand in patterns"
    patterns = [_redis_pattern(pattern) for pattern in source.patterns]
    for channel in source.channels:
        if any(pattern.match(channel) is not None for pattern in patterns):
            yield "patterns", f"gets each event of {channel!r} twice: as a channel, and by a pattern that fits it"
    # A class may keep two patterns apart; among hundreds of patterns each pair would take too long.
    plain = [pattern for pattern in source.patterns if "[" not in pattern][:_MAX_COMPARED]
    for first, second in combinations(plain, 2):
        if can_overlap(*map(_without_captures, (first, second))):
            yield "patterns", f"gets each event twice whose channel fits both {first!r} and {second!r}"


def _redis_pattern(text: str) -> Pattern:
    return RedisTopics.compile(_without_captures(text))


def _without_captures(text: str) -> str:
    """Return a pattern of Redis as one of ours: Redis takes braces as characters."""
    return re.sub(r"[{}]", r"\\\g<0>", text)


def _mistakes_pubsub(source: Mapping[str, Any]) -> Iterator[Diagnostic]:
    if source.get("channels", []) == [] and source.get("patterns", []) == []:
        yield Diagnostic((), "this source subscribes to nothing", "add channels or patterns", at_key=True)


def _why_not_brought_pubsub(source: RedisPubsub, _topics: Sequence[str | None], topic: str) -> str:
    fits = any(_redis_pattern(pattern).match(topic) is not None for pattern in source.patterns)
    if topic in source.channels or fits:
        return ""
    names = [*source.channels, *source.patterns]
    return f"the bridge does not subscribe to this channel: {_listed('it subscribes to', names)}"


class RedisPubsub(SourceModel):
    """Channels of Redis pub/sub."""

    traits: ClassVar[Traits[Any]] = Traits["RedisPubsub"](
        topics=RedisTopics,
        known_topics=lambda source: None if source.patterns else source.channels,
        why_not_brought=_why_not_brought_pubsub,
        promise=lambda source, surroundings: _at_most_once(promises.PUBSUB, source, surroundings),
        dead_letters_unmatched=False,
        properties=lambda _: Properties({}, None, "Redis pub/sub has no headers"),
        presents_json=lambda _: False,
        exclusive=lambda _: None,
        no_deduplicate="Redis pub/sub never delivers a message again, so there is nothing to recognise",
        why_not_shareable=lambda _: "every subscriber of a channel gets every event",
        for_process=lambda source, _: source,
        mistakes=_mistakes_pubsub,
        notes=_notes_pubsub,
    )

    window: Annotated[
        WideWindow,
        Field(
            description="how much may be received and not yet acknowledged",
            examples=[{"events": 2_000, "bytes": "32MiB"}],
        ),
    ] = WideWindow()
    type: Literal["redis-pubsub"] = Field(description="protocol of the source")
    channels: list[Name] = Field(default=[], description="channels to subscribe to", examples=[["signups"]])
    patterns: list[Name] = Field(
        default=[], description="patterns of channels to subscribe to", examples=[["legacy.*"]]
    )


def _promise_stream(_source: RedisStream, surroundings: Surroundings) -> Promise:
    return promises.STREAM_IN_SINK if surroundings.in_sink else promises.STREAM_ELSEWHERE


def _why_not_brought_stream(source: RedisStream, _topics: Sequence[str | None], topic: str) -> str:
    if topic in source.streams:
        return ""
    return f"the bridge does not read this stream: {_listed('it reads', source.streams)}"


def _for_process_stream(source: RedisStream, number: int) -> RedisStream:
    return source.model_copy(update={"consumer": f"{source.consumer or socket.gethostname()}-{number}"})


def _properties_stream(source: RedisStream) -> Properties:
    meta = {"entry_id": Property(entry_id, "1767225600000-0")}
    if source.field is None:
        return Properties(meta, None, "without `field`, all fields of an entry are its payload")
    return Properties(meta, "text")


class RedisStream(SourceModel):
    """Streams of Redis, read by a consumer group."""

    traits: ClassVar[Traits[Any]] = Traits["RedisStream"](
        topics=RedisTopics,
        known_topics=lambda source: source.streams,
        why_not_brought=_why_not_brought_stream,
        promise=_promise_stream,
        dead_letters_unmatched=True,
        properties=_properties_stream,
        # Without a chosen field, an entry is the JSON object of all its fields.
        presents_json=lambda source: source.field is None,
        exclusive=lambda _: None,
        no_deduplicate="an entry of a stream is always recognised, by its id",
        why_not_shareable=lambda _: None,
        for_process=_for_process_stream,
        mistakes=lambda _: (),
        notes=lambda _: (),
    )

    window: Annotated[
        WideWindow,
        Field(
            description="how much may be received and not yet acknowledged",
            examples=[{"events": 2_000, "bytes": "32MiB"}],
        ),
    ] = WideWindow()
    type: Literal["redis-stream"] = Field(description="protocol of the source")
    streams: Annotated[list[Name], Field(min_length=1)] = Field(
        description="keys of the streams to read", examples=[["audit"]]
    )
    group: Name = Field(description="consumer group; it is made where it is missing", examples=["bridge"])
    consumer: Name | None = Field(
        default=None, description="name in the group; without it, one that is this host's own", examples=["bridge-1"]
    )
    start: EntryStart = Field(
        default="beginning",
        description="where a new group starts: beginning, new, the id of an entry, or a time",
        examples=["new", "1764223200000-0", "2026-11-27T06:00:00Z"],
    )
    binary: list[Name] = Field(
        default=[],
        description="fields of an entry that are bytes: each is text in base64; any other field is UTF-8",
        examples=[["photo"]],
    )
    field: Name | None = Field(
        default=None,
        description="field of an entry that is the body; without it the payload is the object of all fields",
        examples=["data"],
    )
    claim_after: Timeout = Field(default=60_000, description="when an entry that another consumer holds is taken over")


#: The registry: a new source is one class more in this union.
SourceConfig = Annotated[Amqp | Mqtt | RedisPubsub | RedisStream, Field(discriminator="type")]


def _models() -> Iterator[tuple[str, type[SourceModel]]]:
    for model in get_args(get_args(SourceConfig)[0]):
        for name in get_args(model.model_fields["type"].annotation):
            yield name, model


#: The model of each `type`.
SOURCES: Final[Mapping[str, type[SourceModel]]] = dict(_models())
