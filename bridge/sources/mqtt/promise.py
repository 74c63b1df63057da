"""The broker's own limits; each is said once, with the promise that holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from bridge.config.units import spell_duration, spell_size
from bridge.observe.log_fields import cut
from bridge.observe.logs import RepeatedLog, logger
from bridge.observe.masking import without_secrets

log = logger()
#: Reason codes of CONNACK and, for MQTT 3.1.1, return codes.
_UNSUPPORTED_VERSION: Final = 0x84
_BAD_CLIENT_ID: Final = 0x85
_V3_UNSUPPORTED_VERSION, _V3_BAD_CLIENT_ID = 1, 2
LOWERED: Final = "the broker grants these at QoS 0 only: what is published while nobody is connected is lost"
#: How the causes of a CONNECT that was refused begin.
REFUSED: Final = "refused: "
REFUSES_ID: Final = "the broker refuses the client_id"
_NO_MQTT_5: Final = "the broker speaks no MQTT 5: set version: 3.1.1"


def describe(reason: object, properties: Any) -> str:
    """Return a reason code in words, with the broker's own explanation and the server that it names instead."""
    text = str(reason)
    if explanation := getattr(properties, "ReasonString", ""):
        text += f": {cut(without_secrets(str(explanation)))}"
    if server := getattr(properties, "ServerReference", ""):
        text += f" (use {cut(without_secrets(str(server)))} instead)"
    return text


def refusal(code: int, client_id: str | None, *, v5: bool) -> str:
    """Return the words for a CONNACK's code where they help; "" for the others."""
    if code == (_UNSUPPORTED_VERSION if v5 else _V3_UNSUPPORTED_VERSION):
        return _NO_MQTT_5 if v5 else "the broker speaks no MQTT 3.1.1: set version: 5"
    if code == (_BAD_CLIENT_ID if v5 else _V3_BAD_CLIENT_ID):
        return (
            f"{REFUSES_ID} {client_id!r}"
            if client_id is not None
            else "the broker refuses a client without a client_id: add client_id"
        )
    return ""


def answered_in_3_1_1(connack: bytes) -> str:
    """Return why a client of MQTT 5 can't go on with this CONNACK, "" if it can: only MQTT 5 has a length of properties."""
    return _NO_MQTT_5 if len(connack) == 2 else ""


def no_answer(*, v5: bool, secure: bool) -> str:
    """Return the likely causes where the broker ends a connection before its CONNACK."""
    likely = "it wants a client certificate (tls: {cert, key})" if secure else "the port is one for TLS (mqtts://)"
    version = "it speaks no MQTT 5 (version: 3.1.1), or " if v5 else ""
    return f"the connection ended before the broker's answer: perhaps {version}{likely}"


def silence(*, v5: bool) -> str:
    """Return the likely cause where the broker has never answered, "" if none is known."""
    return ": perhaps the broker speaks no MQTT 5 (version: 3.1.1)" if v5 else ""


def missing(topics: Sequence[str], properties: Any) -> str:
    """Return why the broker can never give these subscriptions, as its CONNACK says; "" if it can."""
    if getattr(properties, "SharedSubscriptionAvailable", 1) == 0 and any(
        each.startswith("$share/") for each in topics
    ):
        return "the broker has no shared subscriptions: remove $share/GROUP/ from topics"
    if getattr(properties, "WildcardSubscriptionAvailable", 1) == 0 and any(
        "+" in each or "#" in each for each in topics
    ):
        return "the broker has no wildcards: write topics without + and #"
    return ""


def no_subscription_ids(*, v5: bool) -> str:
    """Return what becomes of events that fit several filters where nothing tells their copies apart."""
    known = "the broker has" if v5 else "MQTT 3.1.1 has"
    return f"{known} no subscription identifiers: an event may come, and be written, once for each of these that fits"


class PromiseLog:
    """Says each limit of one source once, and again when it changes."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._said: dict[str, object] = {}
        self._repeated = RepeatedLog()

    def session_shortened(self, asked_ms: int, granted_ms: int, guarantee: str) -> None:
        """Say that the broker keeps the session for less time than was asked for, and the guarantee that holds then."""
        asked, granted = spell_duration(asked_ms), spell_duration(granted_ms)
        self._say("source.session_shortened", granted_ms, asked=asked, granted=granted, guarantee=guarantee)

    def overlap(self, topics: Sequence[str], cause: str) -> None:
        """Say that an event may come once for each of these topics that fits."""
        self._say("source.topics_overlap", tuple(topics), topics=list(topics), cause=cause)

    def lowered(self, topics: Sequence[str]) -> None:
        """Say which topics the broker grants at QoS 0 only."""
        self._say("source.qos_lowered", tuple(topics), topics=list(topics), cause=LOWERED)

    def unsubscribe_refused(self, topics: Sequence[str]) -> None:
        """Say which topics the broker does not unsubscribe: their events still come."""
        self._say("source.unsubscribe_refused", tuple(topics), topics=list(topics))

    def published_at_qos_0(self, topic: str) -> None:
        """Say that an event came at QoS 0 though the session is durable: its publisher has chosen so."""
        cause = "its publisher sends at QoS 0: most brokers keep such events for nobody who is away"
        self._say("source.qos_0_published", "said", topic=topic, cause=cause)

    def larger_discarded(self, max_packet_bytes: int) -> None:
        """Say that the broker keeps larger messages to itself; it takes them from publishers all the same."""
        cause = "the broker discards larger messages, and the bridge never sees them; max_body raises the limit"
        size = spell_size(max_packet_bytes)
        self._say("source.max_packet_size", max_packet_bytes, level="info", max_packet_size=size, cause=cause)

    def _say(self, event: str, value: object, level: str = "warning", **fields: Any) -> None:
        if self._said.get(event) != value:
            self._said[event] = value
            self._repeated.write((event, value), getattr(log, level), event, source=self._source, **fields)


def shortened(asked_ms: int, properties: Any) -> int | None:
    """Return for how many milliseconds the broker keeps the session, as its CONNACK says; None: for as long as was asked for."""
    granted_s = getattr(properties, "SessionExpiryInterval", asked_ms // 1000)
    return granted_s * 1000 if granted_s < asked_ms // 1000 else None


def guarantee(granted_ms: int) -> str:
    """Return the promise of a session that the broker keeps for so long."""
    if granted_ms == 0:
        return "at most once: the session ends with the connection"
    return f"at least once of what the broker holds for {spell_duration(granted_ms)}"
