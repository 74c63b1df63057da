"""Subscribing and unsubscribing with one paho client; every answer of the broker is checked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from bridge.config import Mqtt
from bridge.observe.logs import logger
from bridge.sources.mqtt.overlap import OverlapIds

log = logger()
#: Reason codes of MQTT 5: errors begin here; the UNSUBACK "No subscription existed".
_FIRST_FAILURE: Final = 0x80
_NO_SUBSCRIPTION: Final = 0x11


class Subscriptions:
    """The subscriptions of one connection.

    `granted` is set, and `on_granted` called, once the broker has granted them all; `on_refused` gets the cause if not.
    """

    def __init__(  # noqa: PLR0917 - all of one connection
        self,
        client: paho.Client,
        name: str,
        config: Mqtt,
        overlap_ids: OverlapIds,
        on_granted: Callable[[], None],
        on_refused: Callable[[str], None],
    ) -> None:
        self.granted = asyncio.Event()
        self._client = client
        self._name = name
        self._qos: int = config.qos
        self._v5 = config.version == "5"
        self._overlap_ids = overlap_ids
        self._on_granted = on_granted
        self._on_refused = on_refused
        # Requests without an answer yet, by their packet id.
        self._subscribing: dict[int | None, list[str]] = {}
        self._unsubscribing: dict[int | None, asyncio.Future[list[Any]]] = {}
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe

    def subscribe(self, topics: list[str], *, with_ids: bool) -> None:
        """Subscribe to `topics`: one request for each that has an identifier, one for the rest."""
        overlapping = {topic: number for topic, number in self._overlap_ids.by_filter.items() if topic in topics}
        ids = overlapping if self._v5 and with_ids else {}
        if self._v5 and len(ids) < len(overlapping):
            cause = "the broker has no subscription identifiers: an event may come once for each of these that fits"
            log.warning("source.topics_overlap", source=self._name, topics=list(overlapping), cause=cause)
        requests: list[tuple[list[str], int]] = [([topic], number) for topic, number in ids.items()]
        rest = [topic for topic in topics if topic not in ids]
        # Retained messages come with a new subscription only: not again after each reconnection.
        options = SubscribeOptions(qos=self._qos, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
        for filters, number in [*requests, (rest, 0)] if rest else requests:
            properties = Properties(PacketTypes.SUBSCRIBE) if number else None
            if properties is not None:
                properties.SubscriptionIdentifier = number
            payload = [(topic, options if self._v5 else self._qos) for topic in filters]
            _, packet_id = self._client.subscribe(payload, properties=properties)  # type: ignore[arg-type]
            self._subscribing[packet_id] = filters
        if not self._subscribing:
            self._grant()

    def unsubscribe(self, topics: list[str]) -> asyncio.Future[list[Any]]:
        """Unsubscribe; the future gets the answer's reason codes (none in MQTT 3.1.1), if the broker ever answers."""
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        _, packet_id = self._client.unsubscribe(topics)
        self._unsubscribing[packet_id] = answer
        return answer

    def still_subscribed(self, topics: list[str], reasons: list[Any]) -> list[str]:
        """Log the answer to `unsubscribe`; return the topics that the broker refuses to unsubscribe."""
        refused = [topic for topic, reason in zip(topics, reasons, strict=False) if reason.value >= _FIRST_FAILURE]
        unknown = [topic for topic, reason in zip(topics, reasons, strict=False) if reason.value == _NO_SUBSCRIPTION]
        if unsubscribed := [topic for topic in topics if topic not in refused and topic not in unknown]:
            log.info("source.unsubscribed", source=self._name, topics=unsubscribed)
        if refused:
            log.warning("source.unsubscribe_refused", source=self._name, topics=refused)
        return refused

    def _on_subscribe(self, _client: Any, _data: Any, mid: int, reasons: list[Any], _properties: Any) -> None:
        topics = self._subscribing.pop(mid, [])
        answers = list(zip(topics, reasons, strict=False))
        if len(reasons) != len(topics):
            self._on_refused("the broker's answer does not fit what was subscribed to")
        elif refused := [f"{topic!r} ({reason})" for topic, reason in answers if reason.value >= _FIRST_FAILURE]:
            self._on_refused(f"the broker refuses the subscription to {', '.join(refused)}")
        else:
            if lowered := [topic for topic, reason in answers if reason.value < self._qos]:
                cause = "the broker grants these at QoS 0 only: what is published while nobody is connected is lost"
                log.warning("source.qos_lowered", source=self._name, topics=lowered, cause=cause)
            if not self._subscribing:
                self._grant()

    def _grant(self) -> None:
        self.granted.set()
        self._on_granted()

    def _on_unsubscribe(self, _client: Any, _data: Any, mid: int, reasons: list[Any], _properties: Any) -> None:
        answer = self._unsubscribing.pop(mid, None)
        if answer is not None and not answer.done():
            answer.set_result(reasons)
