"""AMQP 0-9-1 (RabbitMQ): one queue, acknowledged by hand.

aio-pika's plain connection, and the bridge's own reconnect loop: robust connections have left
zero consumers, or hung (aio-pika#231, #334, #536, #563, #577, #626, #632). aio-pika connects, declares, consumes
and closes; on the fast path the bridge reads the deliveries itself, and writes their acknowledgements.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aio_pika
from aio_pika.connection import make_url
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed
from yarl import URL

from bridge import tls
from bridge.config import Amqp
from bridge.errors import BadEvent, Disconnected, words
from bridge.event import Details, Event
from bridge.observe.logs import Repeats, logger
from bridge.sources.amqp_details import details
from bridge.sources.amqp_frames import MOST_BODY_BYTES, BadFrame
from bridge.sources.amqp_link import FastLink, LibraryLink, Transport
from bridge.sources.amqp_probe import Probe
from bridge.sources.inbox import Inbox, InboxSession
from bridge.sources.session import SinkWatch

log = logger()
_CLOSE_S: Final = 2.0
#: How long reading may stop. RabbitMQ closes a connection that it could not send to for 30 s (it is ranch's `send_timeout`;
#: observed), and aiormq one on which it saw nothing for 6 s where the heartbeat is 1 s.
_HOLD_S: Final = 4.0
_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")
#: What `rabbitmqctl list_consumers` shows. A tag is the channel's own, so it need not be unique.
_CONSUMER_TAG: Final = "dramatiq-bridge"


class AmqpSource:
    """One consumer of one queue, which does not begin to consume while `sink` is not available."""

    redelivers = True
    read: Callable[[Any], Details] | None = None

    def __init__(self, name: str, config: Amqp, sink: SinkWatch | None = None, *, probe: Probe | None = None) -> None:
        self.name = name
        self._config = config
        self._sink = sink
        self._probe = probe or Probe(config.queue)
        self._repeats = Repeats()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AmqpSession]:
        """Connect, declare what is to be declared, and consume."""
        await self._wait_for_sink()
        config = self._config
        loop = asyncio.get_running_loop()
        link = FastLink(self.name, loop) if config.fast_path else LibraryLink(loop)
        session = AmqpSession(self.name, config, link)
        connection = aio_pika.Connection(
            self._url(), ssl_context=tls.context(config.tls) if config.url.startswith("amqps") else None
        )
        transport = Transport(link, config.tls.server_name if config.tls else None)
        connection.kwargs["transport_factory"] = transport
        try:
            try:
                async with asyncio.timeout(config.connect_timeout / 1000):
                    await connection.connect()
                    await session.start(connection, linked=transport.used)
            except Exception as error:  # noqa: BLE001 - aiormq raises anything, a bare Exception among it
                raise Disconnected(_refusal(error, config)) from None
            probing = asyncio.create_task(session.look_after(self._probe), name=f"source:{self.name}:probe")
            try:
                yield session
            finally:
                probing.cancel()
        finally:
            session.release()
            with contextlib.suppress(Exception):
                await asyncio.wait_for(connection.close(), _CLOSE_S)

    async def _wait_for_sink(self) -> None:
        # What is delivered now would stay unsettled, until RabbitMQ closes the channel of a delivery of 30 min ago, or somebody the
        # connection. Each time all of it is delivered again, and a quorum queue drops what was too often.
        if self._sink is None or self._sink.available:
            return
        left_out = self._repeats.allow("waiting")
        if left_out is not None:
            log.warning("source.waiting", source=self.name, cause="the sink takes no writes", repeated=left_out)
        await self._sink.wait()

    def _url(self) -> URL:
        config = self._config
        # aiormq gives up after 3 x (heartbeat + 1) s without a frame, and looks every half heartbeat: with 9 s for 10
        # that is after 34 s at most.
        heartbeat = max(1, config.heartbeat // 1000 - 1)
        url = make_url(config.url, heartbeat=heartbeat, name=f"dramatiq-bridge {self.name}")
        if config.username is not None:
            url = url.with_user(config.username)
        if config.password is not None:
            url = url.with_password(config.password.get_secret_value())
        return url


class AmqpSession(InboxSession):
    """One connection with one channel and one consumer."""

    def __init__(self, name: str, config: Amqp, link: FastLink | LibraryLink) -> None:
        self._name = name
        self._config = config
        self._link = link
        self._fast: FastLink | None = None
        self._inbox = Inbox(config.window, self.release, redelivered=True)
        self._channel: Any = None
        self._last_tag = 0
        self._ending = ""
        self._paused = False
        self._discarding = False
        self._settled = asyncio.Event()
        self._stalled: asyncio.TimerHandle | None = None
        self._cancelling: asyncio.Task[None] | None = None

    async def start(self, connection: aio_pika.Connection, *, linked: bool) -> None:
        """Open the channel, declare, and consume; `linked` says whether aiormq reads through our link."""
        connection.close_callbacks.add(self._on_close)
        channel = connection.channel(publisher_confirms=False)
        await channel.initialize()
        channel.close_callbacks.add(self._on_close)
        # The prefetch is the window: aio-pika's own buffer has no bound.
        await channel.set_qos(prefetch_count=self._config.window.events)
        await self._declare(channel)
        self._channel = await channel.get_underlay_channel()
        self._channel.on_consumer_cancel_callbacks.add(self._on_cancel)
        self._link.agreed(self._channel.connection.connection_tune.frame_max or MOST_BODY_BYTES)
        if isinstance(self._link, FastLink):
            if linked:
                self._fast = self._link
                self._fast.consume(self._channel.number, _CONSUMER_TAG, self._inbox, self._hold)
            else:
                problem = "aiormq has not asked our transport for its connection"
                log.warning("source.fast_path_unavailable", source=self._name, problem=problem)
        await self._channel.basic_consume(self._config.queue, self._on_message, consumer_tag=_CONSUMER_TAG)

    async def look_after(self, probe: Probe) -> None:
        """End the session once `probe` says that its consumer is lost."""
        self.fail(await probe.watch(self._channel.connection, self._received))

    async def receive(self) -> list[Event]:
        """Return what has been received; where the consumer has been cancelled, the session ends once that is settled."""
        events = await self._inbox.take()
        if events or not self._ending:
            return events
        while self._inbox.held and not self._inbox.failed:
            self._settled.clear()
            await self._settled.wait()
        self.fail(self._ending)
        raise Disconnected(self._ending)

    def release(self) -> None:
        """Read on, where reading was stopped."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        self._link.release()

    async def settle(self, events: Sequence[Event]) -> None:
        """Acknowledge everything up to the last of `events`, in one frame."""
        self._inbox.settled(events)
        if self._ending:
            self._settled.set()
        if self._inbox.failed:
            return
        try:
            if self._fast is not None and not self._channel.is_closed:
                self._fast.acknowledge(events[-1].token)  # type: ignore[arg-type]  # a delivery tag: it is ours
                return
            await self._channel.basic_ack(events[-1].token, multiple=True, wait=False)
        except Exception as error:  # noqa: BLE001 - as in `connect`
            self.fail(_words(error))

    async def pause(self) -> None:
        """Cancel the consumer; what the broker had already sent is still received."""
        self._paused = True
        self.release()
        await self._cancel()
        self._inbox.close()

    async def _declare(self, channel: Any) -> None:
        config = self._config
        wanted = config.declare
        if wanted is None:
            await channel.declare_queue(config.queue, passive=True)
            return
        queue = await channel.declare_queue(config.queue, durable=wanted.durable, arguments=wanted.arguments or None)
        if wanted.exchange:
            exchange = await channel.declare_exchange(wanted.exchange, wanted.type, durable=wanted.durable)
            for key in wanted.bindings or [""]:
                await queue.bind(exchange, key)

    async def _on_message(self, message: DeliveredMessage) -> None:
        tag = message.delivery_tag or 0
        if self._discarding:
            return
        if tag != self._last_tag + 1:
            # Acknowledging is up to a tag: were one left out, its event would be lost.
            self.fail(f"delivery {tag} came after {self._last_tag}")
            return
        self._last_tag = tag
        self._inbox.put([self._event(message, tag)])
        if self._inbox.heavy:
            self._hold()

    def _event(self, message: DeliveredMessage, tag: int) -> Event:
        # Not the message itself: its channel leads back to the session that holds the event (see `Event`).
        raw = (message.header.properties, message.exchange or "", bool(message.redelivered))
        event = Event(self._name, message.routing_key or "", message.body, time.time_ns() // 1_000_000, tag, raw, _read)
        event.redelivered = raw[2]
        if isinstance(self._link, LibraryLink):
            event.defect = self._link.stream.bad_names.pop(tag, "")
            unreadable = self._link.stream.bad_properties.pop(tag, "")
            if unreadable:
                event.raw, event.read = unreadable, _refuse
        return event

    def _received(self) -> int | None:
        """How many deliveries have come; None where one is on its way, or held, or the source pauses."""
        if self._inbox.held or self._paused or self._ending:
            return None
        if self._fast is not None:
            return self._fast.received
        begun = self._link.stream.tag if isinstance(self._link, LibraryLink) else self._last_tag
        return self._last_tag if begun == self._last_tag else None

    def _hold(self) -> None:
        # The prefetch bounds the events, and not their bytes.
        self._link.hold()
        if self._stalled is None:
            self._stalled = asyncio.get_running_loop().call_later(_HOLD_S, self._let_go)

    def _let_go(self) -> None:
        """Take nothing more: what is still on its way is read, let go, and given back by the broker when the session ends."""
        if self._inbox.failed or self._ending:
            return
        log.warning("source.waiting", source=self._name, cause="the window is full, and stays so")
        self._discarding = True
        if self._fast is not None:
            self._fast.discard()
        self.release()
        self._cancelling = asyncio.create_task(self._cancel(nowait=True), name=f"source:{self._name}:cancel")
        self._end("the window was full for long: what was on its way is delivered again")

    async def _cancel(self, *, nowait: bool = False) -> None:
        try:
            await asyncio.wait_for(self._channel.basic_cancel(_CONSUMER_TAG, nowait=nowait), _CLOSE_S)
        except Exception as error:  # noqa: BLE001 - as in `connect`
            self.fail(_words(error))

    def _end(self, cause: str) -> None:
        """End the session once all it has received is written and settled."""
        self._ending = cause
        self._inbox.close()

    def fail(self, cause: str) -> None:
        """End the session, as if its connection had ended."""
        self._inbox.fail(cause)
        self._settled.set()

    async def _on_cancel(self, _frame: object) -> None:
        # Of a queue that was deleted, what we hold is all there is.
        self._end(f"the broker cancelled the consumer of queue {self._config.queue!r} (was it deleted?)")

    async def _on_close(self, _sender: object, error: BaseException | None = None, *_: object) -> None:
        if self._channel is not None and self._channel.connection.is_connection_was_stuck:
            self.fail("the broker has shown no sign of life for about three heartbeats")
        else:
            self.fail(_words(error) if error else "the connection was closed")


def _read(raw: tuple[Any, str, bool]) -> Details:
    return details(*raw)


def _refuse(unreadable: str) -> Details:
    raise BadEvent("decode", unreadable)


def _refusal(error: BaseException, config: Amqp) -> str:
    """Say why connecting, declaring or consuming failed."""
    if isinstance(error, ChannelNotFoundEntity) and config.declare is None:
        return f"queue {config.queue!r} does not exist: declare it at the broker, or add `declare:` to the source"
    if isinstance(error, ChannelPreconditionFailed):
        exchange = f"exchange {config.declare.exchange!r}" if config.declare else ""
        # RabbitMQ names what differs: the argument, and whose it is.
        what = exchange if exchange and f"for {exchange}" in str(error) else f"queue {config.queue!r}"
        return f"{what} exists with other settings: {error}"
    return _words(error)


def _words(error: BaseException) -> str:
    if isinstance(error.__cause__, BadFrame):
        return str(error.__cause__)  # aiormq wraps it
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, asyncio.CancelledError):
        return "the connection was lost"  # what aiormq says when it ends its own tasks
    # Without the addresses of objects, so that the same fault says the same each time.
    return _ADDRESS.sub("", words(error))
