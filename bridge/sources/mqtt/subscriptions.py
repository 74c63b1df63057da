"""Subscribing and unsubscribing by one paho client: every answer of the broker is looked at."""

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
_FIRST_FAILURE: Final = 0x80
_NO_SUBSCRIPTION: Final = 0x11


class Subscriptions:
    """The subscriptions of one connection; `granted` is set once all are, `on_refused` hears why one is not."""

    def __init__(  # noqa: PLR0917 - all of one connection
        self,
        client: paho.Client,
        name: str,
        config: Mqtt,
        copies: OverlapIds,
        on_granted: Callable[[], None],
        on_refused: Callable[[str], None],
    ) -> None:
        self.granted = asyncio.Event()
        self._client = client
        self._name = name
        self._qos: int = config.qos
        self._v5 = config.version == "5"
        self._copies = copies
        self._on_granted = on_granted
        self._on_refused = on_refused
        self._requested: dict[int | None, list[str]] = {}
        self._given_up: dict[int | None, asyncio.Future[list[Any]]] = {}
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe

    def subscribe(self, topics: list[str], *, numbered: bool) -> None:
        """Subscribe to `topics`: one request for each that has an identifier, one for the rest."""
        overlapping = {topic: number for topic, number in self._copies.numbers.items() if topic in topics}
        numbers = overlapping if self._v5 and numbered else {}
        if self._v5 and len(numbers) < len(overlapping):
            problem = "the broker has no subscription identifiers: an event may come once for each of these that fits"
            log.warning("source.topics_overlap", source=self._name, topics=list(overlapping), problem=problem)
        requests: list[tuple[list[str], int]] = [([topic], number) for topic, number in numbers.items()]
        rest = [topic for topic in topics if topic not in numbers]
        # Retained messages come with a new subscription only: not again after each reconnection.
        options = SubscribeOptions(qos=self._qos, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
        for some, number in [*requests, (rest, 0)] if rest else requests:
            properties = Properties(PacketTypes.SUBSCRIBE) if number else None
            if properties is not None:
                properties.SubscriptionIdentifier = number
            wanted = [(topic, options if self._v5 else self._qos) for topic in some]
            _, packet_id = self._client.subscribe(wanted, properties=properties)  # type: ignore[arg-type]
            self._requested[packet_id] = some
        if not self._requested:
            self._grant()

    def unsubscribe(self, topics: list[str]) -> asyncio.Future[list[Any]]:
        """Unsubscribe; the answer's reason codes come, in MQTT 5, once it does, which may never be."""
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        _, packet_id = self._client.unsubscribe(topics)
        self._given_up[packet_id] = answer
        return answer

    def kept(self, topics: list[str], reasons: list[Any]) -> list[str]:
        """Say what the answer to `unsubscribe` means; return the topics that the broker does not let go."""
        kept = [topic for topic, reason in zip(topics, reasons, strict=False) if reason.value >= _FIRST_FAILURE]
        never = [topic for topic, reason in zip(topics, reasons, strict=False) if reason.value == _NO_SUBSCRIPTION]
        if gone := [topic for topic in topics if topic not in kept and topic not in never]:
            log.info("source.unsubscribed", source=self._name, topics=gone)
        if kept:
            log.warning("source.unsubscribe_refused", source=self._name, topics=kept)
        return kept

    def _on_subscribe(self, _client: Any, _data: Any, mid: int, reasons: list[Any], _properties: Any) -> None:
        topics = self._requested.pop(mid, [])
        answers = list(zip(topics, reasons, strict=False))
        if len(reasons) != len(topics):
            self._on_refused("the broker's answer does not fit what was subscribed to")
        elif refused := [f"{topic!r} ({reason})" for topic, reason in answers if reason.value >= _FIRST_FAILURE]:
            self._on_refused(f"the broker refuses the subscription to {', '.join(refused)}")
        else:
            if lowered := [topic for topic, reason in answers if reason.value < self._qos]:
                problem = "the broker grants these at QoS 0 only: what is published while nobody is connected is lost"
                log.warning("source.qos_lowered", source=self._name, topics=lowered, problem=problem)
            if not self._requested:
                self._grant()

    def _grant(self) -> None:
        self.granted.set()
        self._on_granted()

    def _on_unsubscribe(self, _client: Any, _data: Any, mid: int, reasons: list[Any], _properties: Any) -> None:
        answer = self._given_up.pop(mid, None)
        if answer is not None and not answer.done():
            answer.set_result(reasons)
