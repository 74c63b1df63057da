"""A plain client beside the bridge: it takes the same events by the library alone, and shows what the broker itself loses."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from tests.faults.checker import number_of
from tests.faults.ledger import Load
from tests.faults.publishers import amqp_connection
from tests.faults.stage import Stage
from tests.interop.outcome import Witness
from tests.support.children import wait_until
from tests.support.feeds import Feed

_RETRY_S: Final = 0.2
#: As of an experiment's sources.
_DRAIN_S: Final = 60.0
_QUIET_S: Final = 10.0
#: A stream is consumed with a prefetch only.
_PREFETCH: Final = 100


class Control(ABC):
    """Takes the events of each load, by its source's name, from its beginning until `close`."""

    def __init__(self, feeds: Mapping[str, Feed], loads: Mapping[str, Load]) -> None:
        self.feeds = feeds
        self.seen: dict[str, Counter[int]] = {source: Counter() for source in feeds}
        #: Whether the broker has forgotten its session, as the answer to a new connection says.
        self.forgotten = False
        self._ledgers = {source: load.ledger for source, load in loads.items()}
        self._since = dict.fromkeys(feeds, 0)

    def begin(self) -> None:
        """Wait until it is subscribed: from then on it has to see every event."""
        wait_until(lambda: self.connected, what="the plain client's subscription")
        self._since = {source: ledger.sent for source, ledger in self._ledgers.items()}

    @property
    @abstractmethod
    def connected(self) -> bool:
        """Whether it is subscribed now."""

    @abstractmethod
    def close(self) -> None:
        """Take no more."""

    def finish(self) -> None:
        """Wait until it has seen everything, or until nothing more comes; then take no more."""
        deadline, total, since = time.monotonic() + _DRAIN_S, -1, time.monotonic()
        while time.monotonic() < min(deadline, since + _QUIET_S) and any(map(self._missed, self.feeds)):
            time.sleep(_RETRY_S)
            if (now := sum(seen.total() for seen in self.seen.values())) != total:
                total, since = now, time.monotonic()
        self.close()

    def witness(self, source: str, unacknowledged: frozenset[int] = frozenset()) -> Witness:
        """Return what it has shown of a source; `unacknowledged` are numbers that the bridge has never acknowledged."""
        expected = any(number >= self._since[source] for number in self._ledgers[source].confirmed)
        return Witness(
            self._since[source],
            self._missed(source),
            blind=expected and not self.seen[source],
            forgotten=unacknowledged if self.forgotten else frozenset(),
        )

    def _missed(self, source: str) -> frozenset[int]:
        ledger, seen = self._ledgers[source], self.seen[source]
        return frozenset(
            number for number in list(ledger.confirmed) if number >= self._since[source] and number not in seen
        )

    def _take(self, source: str, body: bytes) -> None:
        if (number := number_of(body)) is not None:
            self.seen[source][number] += 1


class MqttControl(Control):
    """paho, in a persistent session of its own, at QoS 1."""

    def __init__(self, feeds: Mapping[str, Feed], loads: Mapping[str, Load]) -> None:
        super().__init__(feeds, loads)
        self._by_topic = {feed.topic: source for source, feed in feeds.items()}
        self._has_session = False
        self._granted = 0
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

    @property
    def connected(self) -> bool:
        """See Control."""
        return self._granted >= len(self._by_topic)

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
        self._granted += 1

    def _end(self, *_: Any) -> None:
        self._granted = 0


class AmqpControl(Control):
    """aio-pika, with a durable queue of its own at each exchange; a stream it reads from its beginning, at each connection."""

    def __init__(self, feeds: Mapping[str, Feed], loads: Mapping[str, Load]) -> None:
        super().__init__(feeds, loads)
        self._suffix = uuid.uuid4().hex[:8]
        self._consuming = False
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._run())
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

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
            await channel.set_qos(_PREFETCH)
            for source, feed in self.feeds.items():
                if feed.source.get("stream"):
                    stream = await channel.get_queue(feed.name, ensure=False)
                    await stream.consume(self._taker(source), arguments={"x-stream-offset": "first"})
                    continue
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
    control: Control = kind(stage.feeds, stage.loads)
    stage.later(control.finish)
    control.begin()
    return control
