"""Subscribing and unsubscribing with one paho client; every answer of the broker is checked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from bridge.config import Mqtt
from bridge.observe.logs import logger
from bridge.sources.mqtt.connection import PahoConnection
from bridge.sources.mqtt.overlap import OverlapIds
from bridge.sources.mqtt.promise import PromiseLog, describe, no_subscription_ids

log = logger()
#: Reason codes of MQTT 5: errors begin here; the UNSUBACK "No subscription existed".
_FIRST_FAILURE: Final = 0x80
_NO_SUBSCRIPTION: Final = 0x11
#: The SUBACK "Packet identifier in use": how often, and how soon, the request is made again.
_ID_IN_USE: Final = 0x91
_MAX_REPEATS: Final = 20
_REPEAT_INTERVAL_S: Final = 0.5
#: Of one request: its filters, its size in bytes, and of that the bytes that are no topics, and those beside each topic.
_MAX_FILTERS: Final = 8
_MAX_PACKET: Final = 1 << 20
_BESIDE_TOPICS: Final = 16
_BESIDE_TOPIC: Final = 3


class Subscriptions:
    """The subscriptions of one connection.

    `granted` is set, and `on_granted` called, once the broker has granted them all; if it refuses one, `connection` fails.
    """

    def __init__(  # noqa: PLR0917 - all of one connection
        self,
        client: paho.Client,
        connection: PahoConnection,
        config: Mqtt,
        overlap_ids: OverlapIds,
        promise: PromiseLog,
        on_granted: Callable[[], None],
    ) -> None:
        self.granted = asyncio.Event()
        self._client = client
        self._connection = connection
        self._qos: int = config.qos
        self._v5 = config.version == "5"
        self._overlap_ids = overlap_ids
        self._promise = promise
        self._on_granted = on_granted
        self._session_present = False
        self._max_packet = _MAX_PACKET
        # Requests without an answer yet, by their packet id; the number is the identifier, or 0.
        self._subscribing: dict[int | None, tuple[list[str], int]] = {}
        self._unsubscribing: dict[int | None, asyncio.Future[list[Any]]] = {}
        # Requests that were refused for their packet id: how many in all, and how many wait to be made again.
        self._repeats = self._to_repeat = 0
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe

    def subscribe(self, topics: list[str], connack: Any, *, session_present: bool) -> None:
        """Subscribe to `topics`: one request for each that has an identifier, as few as brokers take for the rest.

        `connack` are the properties of the broker's answer to CONNECT, None in MQTT 3.1.1.
        """
        self._session_present = session_present
        self._max_packet = max_packet(connack)
        overlapping = {topic: number for topic, number in self._overlap_ids.by_filter.items() if topic in topics}
        with_ids = self._v5 and getattr(connack, "SubscriptionIdentifierAvailable", 1) == 1
        ids = overlapping if with_ids else {}
        if len(ids) < len(overlapping):
            self._promise.overlap(list(overlapping), no_subscription_ids(v5=self._v5))
        for topic, number in ids.items():
            self._request([topic], number)
        for portion in portions([topic for topic in topics if topic not in ids], self._max_packet):
            self._request(portion, 0)
        if not self._subscribing:
            self._grant()

    def unsubscribe(self, topics: list[str]) -> asyncio.Future[list[list[Any]]]:
        """Unsubscribe; the future gets the answers' reason codes (none in MQTT 3.1.1), if the broker ever answers."""
        answers = []
        for portion in portions(topics, self._max_packet):
            answers.append(asyncio.get_running_loop().create_future())
            _, packet_id = self._client.unsubscribe(portion)
            self._unsubscribing[packet_id] = answers[-1]
        return asyncio.gather(*answers)

    def _request(self, topics: list[str], number: int) -> None:
        # Retained messages come with a new subscription only: not again after each reconnection.
        options = SubscribeOptions(qos=self._qos, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
        properties = Properties(PacketTypes.SUBSCRIBE) if number else None
        if properties is not None:
            properties.SubscriptionIdentifier = number
        payload = [(topic, options if self._v5 else self._qos) for topic in topics]
        _, packet_id = self._client.subscribe(payload, properties=properties)  # type: ignore[arg-type]
        self._subscribing[packet_id] = topics, number

    def still_subscribed(self, source: str, topics: list[str], answers: list[list[Any]]) -> list[str]:
        """Log the answers to `unsubscribe`; return the topics that the broker refuses to unsubscribe."""
        reasons = [reason for answer in answers for reason in answer]
        refused = [topic for topic, reason in zip(topics, reasons, strict=False) if reason.value >= _FIRST_FAILURE]
        unknown = [topic for topic, reason in zip(topics, reasons, strict=False) if reason.value == _NO_SUBSCRIPTION]
        if unsubscribed := [topic for topic in topics if topic not in refused and topic not in unknown]:
            log.info("source.unsubscribed", source=source, topics=unsubscribed)
        if refused:
            self._promise.unsubscribe_refused(refused)
        return refused

    def _on_subscribe(self, _client: Any, _data: Any, mid: int, reasons: list[Any], properties: Any) -> None:
        topics, number = self._subscribing.pop(mid, ([], 0))
        answers = list(zip(topics, reasons, strict=False))
        refused = [(topic, reason) for topic, reason in answers if reason.value >= _FIRST_FAILURE]
        if len(reasons) != len(topics):
            self._connection.fail("the broker's answer does not fit what was subscribed to")
            return
        if lowered := [topic for topic, reason in answers if reason.value < self._qos]:
            self._promise.lowered(lowered)
        if refused and all(reason.value == _ID_IN_USE for _, reason in refused) and self._repeats < _MAX_REPEATS:
            # mochi answers so where it uses the same packet id for a message of its own. In a session that it kept, the
            # subscriptions stand meanwhile.
            self._repeats += 1
            self._to_repeat += 1
            again = [topic for topic, _ in refused]
            asyncio.get_running_loop().call_later(_REPEAT_INTERVAL_S, self._repeat, again, number)
            if self._session_present and not self._subscribing:
                self._grant()
        elif refused:
            named = ", ".join(f"{topic!r} ({describe(reason, properties)})" for topic, reason in refused)
            self._connection.fail(f"the broker refuses the subscription to {named}")
        elif not self._subscribing and not self._to_repeat:
            self._grant()

    def _repeat(self, topics: list[str], number: int) -> None:
        self._to_repeat -= 1
        if self._client.is_connected():
            self._request(topics, number)
            self._connection.flush()

    def _grant(self) -> None:
        self.granted.set()
        self._on_granted()

    def _on_unsubscribe(self, _client: Any, _data: Any, mid: int, reasons: list[Any], _properties: Any) -> None:
        answer = self._unsubscribing.pop(mid, None)
        if answer is not None and not answer.done():
            answer.set_result(reasons)


def max_packet(connack: Any) -> int:
    """Return how large a request may be, by the properties of the broker's answer to CONNECT (None in MQTT 3.1.1)."""
    return min(_MAX_PACKET, getattr(connack, "MaximumPacketSize", _MAX_PACKET))


def portions(topics: Sequence[str], max_bytes: int) -> Iterator[list[str]]:
    """Split the topics of one request: AWS IoT takes 8 filters, and every broker a packet of its maximum size."""
    portion: list[str] = []
    size = 0
    for topic in topics:
        topic_size = len(topic.encode()) + _BESIDE_TOPIC
        if portion and (len(portion) == _MAX_FILTERS or size + topic_size > max_bytes - _BESIDE_TOPICS):
            yield portion
            portion, size = [], 0
        portion.append(topic)
        size += topic_size
    if portion:
        yield portion
