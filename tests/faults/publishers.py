"""One publisher per protocol: what it sends is confirmed one by one, and never sent again.

A library that publishes again after a lost reply makes duplicates that nobody else could tell from the bridge's.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final

import aio_pika
import redis
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.feeds import Feed

_TIMEOUT_S: Final = 2.0

Confirm = Callable[[int], None]


class Publisher(ABC):
    """Publishes to the source of `feed`; `at_once` is the most that one `send` may take."""

    at_once: ClassVar[int] = 100

    def __init__(self, feed: Feed) -> None:
        self.feed = feed

    @abstractmethod
    def connect(self) -> None:
        """Connect within `_TIMEOUT_S`; any exception says that it could not be done."""

    @abstractmethod
    def send(self, bodies: Sequence[bytes], confirm: Confirm, topics: Sequence[str] = ()) -> None:
        """Publish to the feed's topic, or each body to its own of `topics`, calling `confirm(index)` for each body that the broker has taken; an exception if one was not."""

    @abstractmethod
    def close(self) -> None:
        """End the connection, if there is one."""

    def _addressed(self, bodies: Sequence[bytes], topics: Sequence[str]) -> list[tuple[bytes, str]]:
        return list(zip(bodies, topics or [self.feed.topic] * len(bodies), strict=True))


class AmqpPublisher(Publisher):
    """Persistent messages to the queue itself, mandatory, with publisher confirms."""

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        # A loop for each connection; it runs only while something is asked of it.
        self._runner: asyncio.Runner | None = None
        self._connection: Any = None
        self._exchange: Any = None

    def connect(self) -> None:
        """See Publisher."""
        self._runner = asyncio.Runner()
        self._run(self._connect())

    def send(self, bodies: Sequence[bytes], confirm: Confirm, topics: Sequence[str] = ()) -> None:
        """See Publisher."""

        async def one(index: int, body: bytes, topic: str) -> None:
            await self._exchange.publish(aio_pika.Message(body, delivery_mode=2), topic, mandatory=True)
            confirm(index)

        async def every() -> None:
            sent = [one(index, *pair) for index, pair in enumerate(self._addressed(bodies, topics))]
            results = await asyncio.gather(*sent, return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result

        self._run(every())

    def close(self) -> None:
        """See Publisher."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                self._run(connection.close())
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()

    async def _connect(self) -> None:
        self._connection = await amqp_connection(self.feed.broker.url)
        self._exchange = await self._open(await self._connection.channel(on_return_raises=True))

    async def _open(self, channel: Any) -> Any:
        return channel.default_exchange

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._runner is not None
        self._runner.run(_in_time(work))


async def amqp_connection(url: str) -> Any:
    """Return an open connection of aio-pika."""
    connection: Any = await aio_pika.connect(url, timeout=60)
    # aiormq fails where a broker announces no capabilities; it may confirm all the same.
    connection.transport.connection.server_properties.setdefault("capabilities", {"publisher_confirms": True})
    return connection


class AmqpTopicPublisher(AmqpPublisher):
    """The same, to the exchange of the feed's name."""

    async def _open(self, channel: Any) -> Any:
        return await channel.get_exchange(self.feed.name, ensure=False)


async def _in_time(work: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(_TIMEOUT_S):
        await work


class MqttPublisher(Publisher):
    """QoS 1, with at most 20 events in flight: mosquitto loses more by itself."""

    at_once = 20
    qos: ClassVar[int] = 1

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._client: Client | None = None

    def connect(self) -> None:
        """See Publisher."""
        self.close()
        # With an id: not every broker gives a client one.
        client_id = f"publisher-{uuid.uuid4().hex[:8]}"
        client = self._client = Client(CallbackAPIVersion.VERSION2, client_id, reconnect_on_failure=False)
        connected = threading.Event()
        client.on_connect = lambda *_: connected.set()
        client.connect_timeout = _TIMEOUT_S
        client.connect("127.0.0.1", self.feed.broker.port)
        client.loop_start()
        if not connected.wait(_TIMEOUT_S):
            raise TimeoutError("no CONNACK")

    def send(self, bodies: Sequence[bytes], confirm: Confirm, topics: Sequence[str] = ()) -> None:
        """See Publisher."""
        assert self._client is not None
        sent = [self._client.publish(topic, body, qos=self.qos) for body, topic in self._addressed(bodies, topics)]
        deadline = time.monotonic() + _TIMEOUT_S
        for index, info in enumerate(sent):
            info.wait_for_publish(max(0.001, deadline - time.monotonic()))
            if info.is_published():
                confirm(index)
        if not sent[-1].is_published():
            raise TimeoutError("no PUBACK")

    def close(self) -> None:
        """See Publisher."""
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()


class Qos0Publisher(MqttPublisher):
    """QoS 0: `confirmed` says no more than that the event was handed to the kernel."""

    qos = 0


class _RedisPublisher(Publisher):
    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._client: redis.Redis | None = None

    def connect(self) -> None:
        """See Publisher."""
        # Anew each time: after a failover the feed's broker is another one.
        self._client = plain_client(self.feed.broker.port)
        self._client.ping()

    def send(self, bodies: Sequence[bytes], confirm: Confirm, topics: Sequence[str] = ()) -> None:
        """See Publisher."""
        assert self._client is not None
        pipeline = self._client.pipeline(transaction=False)
        for body, topic in self._addressed(bodies, topics):
            self._add(pipeline, topic, body)
        failed = None
        for index, reply in enumerate(pipeline.execute(raise_on_error=False)):
            if isinstance(reply, Exception):
                failed = reply
            elif reply:
                confirm(index)
        if failed is not None:
            raise failed

    def close(self) -> None:
        """See Publisher."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _add(self, pipeline: Any, topic: str, body: bytes) -> None:
        raise NotImplementedError


class StreamPublisher(_RedisPublisher):
    """XADD; the reply is the confirmation."""

    def _add(self, pipeline: Any, topic: str, body: bytes) -> None:
        pipeline.xadd(topic, {"data": body})


class PubsubPublisher(_RedisPublisher):
    """PUBLISH; confirmed is what Redis says it has handed to a subscriber."""

    def _add(self, pipeline: Any, topic: str, body: bytes) -> None:
        pipeline.publish(topic, body)


def plain_client(port: int, timeout_s: float = _TIMEOUT_S) -> redis.Redis:
    """Return a client that sends nothing twice and waits for nothing longer than `timeout_s`."""
    return redis.Redis(
        host="127.0.0.1",
        port=port,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
    )
