"""One publisher per protocol: what it sends is confirmed one by one, and never sent again.

A library that publishes again after a lost reply makes duplicates that nobody else could tell from the bridge's.
"""

from __future__ import annotations

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final

import aio_pika
import redis
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.brokers import Redis
from tests.feeds import Feed

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
    def send(self, bodies: Sequence[bytes], confirm: Confirm, topic: str | None = None) -> None:
        """Publish, calling `confirm(index)` for each body that the broker has taken; an exception if one was not."""

    @abstractmethod
    def close(self) -> None:
        """End the connection, if there is one."""


class AmqpPublisher(Publisher):
    """Persistent messages to the queue itself, mandatory, with publisher confirms."""

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        # One loop for all connections; it runs only while something is asked of it.
        self._loop = asyncio.new_event_loop()
        self._connection: Any = None
        self._exchange: Any = None

    def connect(self) -> None:
        """See Publisher."""
        self._run(self._connect())

    def send(self, bodies: Sequence[bytes], confirm: Confirm, topic: str | None = None) -> None:
        """See Publisher."""

        async def one(index: int, body: bytes) -> None:
            message = aio_pika.Message(body, delivery_mode=2)
            await self._exchange.publish(message, topic or self.feed.name, mandatory=True)
            confirm(index)

        async def every() -> None:
            results = await asyncio.gather(*(one(*pair) for pair in enumerate(bodies)), return_exceptions=True)
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

    async def _connect(self) -> None:
        self._connection = await aio_pika.connect(self.feed.broker.url)
        channel = await self._connection.channel(on_return_raises=True)
        self._exchange = channel.default_exchange

    def _run(self, work: Any) -> None:
        self._loop.run_until_complete(asyncio.wait_for(work, _TIMEOUT_S))


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
        client = self._client = Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        connected = threading.Event()
        client.on_connect = lambda *_: connected.set()
        client.connect_timeout = _TIMEOUT_S
        client.connect("127.0.0.1", self.feed.broker.port)
        client.loop_start()
        if not connected.wait(_TIMEOUT_S):
            raise TimeoutError("no CONNACK")

    def send(self, bodies: Sequence[bytes], confirm: Confirm, topic: str | None = None) -> None:
        """See Publisher."""
        assert self._client is not None
        sent = [self._client.publish(topic or self.feed.topic, body, qos=self.qos) for body in bodies]
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
        assert isinstance(feed.broker, Redis)
        self._client = plain_client(feed.broker.port)

    def connect(self) -> None:
        """See Publisher."""
        self._client.ping()

    def send(self, bodies: Sequence[bytes], confirm: Confirm, topic: str | None = None) -> None:
        """See Publisher."""
        pipeline = self._client.pipeline(transaction=False)
        for body in bodies:
            self._add(pipeline, topic or self.feed.name, body)
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
        self._client.close()

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
