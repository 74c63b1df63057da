"""A plain client beside the bridge: it takes the same events by the library alone, and shows what the broker itself loses."""

from __future__ import annotations

import asyncio
import threading
import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from tests.faults.checker import number_of
from tests.faults.publishers import amqp_connection
from tests.faults.stage import Stage
from tests.support.children import wait_until
from tests.support.feeds import Feed

_RETRY_S: Final = 0.2


class Control(ABC):
    """Takes the events of each feed, by its source's name, from its beginning until `close`."""

    def __init__(self, feeds: Mapping[str, Feed]) -> None:
        self.feeds = feeds
        self.seen: dict[str, Counter[int]] = {source: Counter() for source in feeds}
        #: Whether the broker has forgotten its session, as the answer to a new connection says.
        self.forgotten = False
        self._newest: dict[str, int] = {}

    @property
    @abstractmethod
    def connected(self) -> bool:
        """Whether it is subscribed now."""

    @abstractmethod
    def close(self) -> None:
        """Take no more."""

    def broker_died(self, newest: Mapping[str, int]) -> None:
        """Note the newest confirmed number of each source at the broker's death."""
        self._newest.update(newest)

    def forgotten_numbers(self, source: str, window_events: int) -> range:
        """Return the numbers that may have been under way to any subscriber when the broker died, if it then forgot sessions."""
        if not self.forgotten or source not in self._newest:
            return range(0)
        return range(self._newest[source] - window_events, self._newest[source] + 1)

    def missed(self, source: str, confirmed: Sequence[int]) -> list[int]:
        """Return the confirmed numbers that it has not seen, of those after the first that it has."""
        seen = self.seen[source]
        first = min(seen, default=0)
        return [number for number in confirmed if number > first and number not in seen]

    def _take(self, source: str, body: bytes) -> None:
        if (number := number_of(body)) is not None:
            self.seen[source][number] += 1


class MqttControl(Control):
    """paho, in a persistent session of its own, at QoS 1."""

    def __init__(self, feeds: Mapping[str, Feed]) -> None:
        super().__init__(feeds)
        self._by_topic = {feed.topic: source for source, feed in feeds.items()}
        self._subscribed = self._has_session = False
        client = self._client = Client(CallbackAPIVersion.VERSION2, f"control-{uuid.uuid4().hex[:8]}", False)
        client.reconnect_delay_set(1, 1)
        client.on_connect = self._subscribe
        client.on_disconnect = self._end
        client.on_subscribe = self._begin
        client.on_message = lambda _client, _data, message: self._take(
            self._by_topic[message.topic], bytes(message.payload)
        )
        client.connect("127.0.0.1", next(iter(feeds.values())).broker.port)
        client.loop_start()
        wait_until(lambda: self.connected, what="the plain client's subscription")

    @property
    def connected(self) -> bool:
        """See Control."""
        return self._subscribed

    def close(self) -> None:
        """See Control."""
        self._client.disconnect()
        self._client.loop_stop()

    def _subscribe(self, _client: Any, _data: Any, flags: Any, *_: Any) -> None:
        # The first time there is none yet.
        self.forgotten |= self._has_session and not flags.session_present
        self._has_session = True
        # One filter a request: not every broker answers all in one.
        for topic in self._by_topic:
            self._client.subscribe(topic, qos=1)

    def _begin(self, *_: Any) -> None:
        self._subscribed = True

    def _end(self, *_: Any) -> None:
        self._subscribed = False


class AmqpControl(Control):
    """aio-pika, with a durable queue of its own at each exchange."""

    def __init__(self, feeds: Mapping[str, Feed]) -> None:
        super().__init__(feeds)
        self._suffix = uuid.uuid4().hex[:8]
        self._consuming = False
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._run())
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()
        wait_until(lambda: self.connected, what="the plain client's consumers")

    @property
    def connected(self) -> bool:
        """See Control."""
        return self._consuming

    def close(self) -> None:
        """See Control."""
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(30)

    def _serve(self) -> None:
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()

    async def _run(self) -> None:
        while True:
            with suppress(Exception):  # whatever ends a connection: the next one begins anew
                await self._session()
            self._consuming = False
            await asyncio.sleep(_RETRY_S)

    async def _session(self) -> None:
        async with await amqp_connection(next(iter(self.feeds.values())).broker.url) as connection:
            channel = await connection.channel(publisher_confirms=False)
            ended = asyncio.Event()
            channel.close_callbacks.add(lambda *_: ended.set())
            for source, feed in self.feeds.items():
                queue = await channel.declare_queue(f"{feed.name}-{self._suffix}", durable=True)
                await queue.bind(feed.name, "#")
                await queue.consume(self._taker(source))
            self._consuming = True
            await ended.wait()

    def _taker(self, source: str) -> Any:
        async def take(message: Any) -> None:
            self._take(source, message.body)
            await message.ack()

        return take


def control_of(stage: Stage) -> Control | None:
    """Begin to take the events of a stage's sources, until the stage ends; None for those of Redis, which loses none."""
    name = next(iter(stage.feeds))
    kinds = {"amqp": AmqpControl, "mqtt": MqttControl}
    kind = kinds.get(name.partition("-")[0])
    if kind is None:
        return None
    control: Control = kind(stage.feeds)
    stage.later(control.close)
    return control
