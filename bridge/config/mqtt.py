"""The settings and the traits of MQTT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from bridge.config import promises
from bridge.config.connection import Boolean, Milliseconds, Seconds16, at_least
from bridge.config.names import ClientId, MqttFilter, mqtt_login_mistakes, process_client_id, split
from bridge.config.promises import Promise
from bridge.config.properties import Properties, Property, flag, text, up_to, whole_seconds
from bridge.config.source_model import DeduplicatedSource, at_most_once
from bridge.config.substitution import coerced
from bridge.config.traits import Surroundings, Traits
from bridge.config.units import spell_duration
from bridge.config.wording import first_names
from bridge.errors import Diagnostic
from bridge.topics.mqtt import MqttTopics, covers, needed_filters, subscription, without_share

#: MQTT counts these in seconds, in four bytes.
Seconds32 = Annotated[Milliseconds, at_least(0, 4_294_967_295_000)]


def _version(value: object) -> object:
    value = coerced(value)
    # A 5 needs no quotes, as 3.1.1 needs none.
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _promise_mqtt(source: Mqtt, surroundings: Surroundings) -> Promise:
    if not source.durable:
        return at_most_once(promises.MQTT_QOS_0, source, surroundings)
    kept = "while it keeps the session"
    if source.version == "5":
        kept = f"for {spell_duration(source.session_expiry // 1000 * 1000)}"
    has_spool = surroundings.spool_bytes is not None
    limits = "" if has_spool else "; no spool, so in an outage of Redis its limits count"
    return replace(promises.MQTT_QOS_1, guarantee=f"at least once of what the broker holds {kept}{limits}")


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
    subscribed = f"it subscribes to {first_names(filters)}" if filters else "no route needs one"
    return f"the bridge does not subscribe to this topic: {subscribed}"


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
