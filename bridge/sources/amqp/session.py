"""A session of AMQP: one connection with one channel and one consumer, from its start to its end."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import aio_pika
from aiormq.abc import DeliveredMessage

from bridge.config import Amqp
from bridge.errors import BadEvent, Disconnected, describe_error
from bridge.model.event import Details, Event
from bridge.observe.logs import logger
from bridge.sources.amqp.consumer_check import ConsumerCheck
from bridge.sources.amqp.frames import MOST_BODY_BYTES, BadFrame
from bridge.sources.amqp.properties import details
from bridge.sources.amqp.transport import FastTransport, LibraryTransport
from bridge.sources.contract import WindowedSession
from bridge.sources.window import InFlightWindow

log = logger()
_CLOSE_S: Final = 2.0
_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")
#: What `rabbitmqctl list_consumers` shows. A tag is the channel's own, so it need not be unique.
_CONSUMER_TAG: Final = "dramatiq-bridge"
#: How long reading may stop. RabbitMQ closes a connection that it could not send to for 30 s (it is ranch's `send_timeout`;
#: observed), and aiormq one on which it saw nothing for 6 s where the heartbeat is 1 s.
_HOLD_S: Final = 4.0


class AmqpSession(WindowedSession):
    """One connection with one channel and one consumer; `say_waiting` is told why it takes nothing more for long."""

    def __init__(
        self, name: str, config: Amqp, link: FastTransport | LibraryTransport, say_waiting: Callable[[str], None]
    ) -> None:
        self._name = name
        self._config = config
        self._link = link
        self._say_waiting = say_waiting
        self._fast: FastTransport | None = None
        self._window = InFlightWindow(config.window, self.release, redelivered=True)
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
        if isinstance(self._link, FastTransport):
            if linked:
                self._fast = self._link
                self._fast.consume(self._channel.number, _CONSUMER_TAG, self._window, self._hold)
            else:
                problem = "aiormq has not asked our transport for its connection"
                log.warning("source.fast_path_unavailable", source=self._name, problem=problem)
        await self._channel.basic_consume(self._config.queue, self._on_message, consumer_tag=_CONSUMER_TAG)

    async def look_after(self, probe: ConsumerCheck) -> None:
        """End the session once `probe` says that its consumer is lost."""
        self.fail(await probe.watch(self._channel.connection, self._received))

    async def receive(self) -> list[Event]:
        """Return what has been received; where the consumer has been cancelled, the session ends once that is settled."""
        events = await self._window.take()
        if events or not self._ending:
            return events
        while self._window.held and not self._window.failed:
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

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """Acknowledge everything up to the last of `events`, in one frame."""
        try:
            if not self._window.failed:
                await self._acknowledge(events[-1].token)
        except Exception as error:  # noqa: BLE001 - as in `connect`
            self.fail(describe_end(error))
        finally:
            self._window.acknowledged(events)
            self._settled.set()

    async def pause(self) -> None:
        """Cancel the consumer; what the broker had already sent is still received."""
        self._paused = True
        self.release()
        await self._cancel()
        self._window.close()

    async def _acknowledge(self, tag: Any) -> None:
        if self._fast is not None and not self._channel.is_closed:
            self._fast.acknowledge(tag)
        else:
            # A session that is about to end waits until it is written: aiormq closes without what it has queued.
            await self._channel.basic_ack(tag, multiple=True, wait=bool(self._ending))

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
        self._window.put([self._event(message, tag)])
        if self._window.over_byte_limit:
            self._hold()

    def _event(self, message: DeliveredMessage, tag: int) -> Event:
        # Not the message itself: its channel leads back to the session that holds the event (see `Event`).
        raw = (message.header.properties, message.exchange or "", bool(message.redelivered))
        event = Event(self._name, message.routing_key or "", message.body, time.time_ns() // 1_000_000, tag, raw, _read)
        event.redelivered = raw[2]
        if isinstance(self._link, LibraryTransport):
            event.defect = self._link.stream.bad_names.pop(tag, "")
            unreadable = self._link.stream.bad_properties.pop(tag, "")
            if unreadable:
                event.raw, event.read = unreadable, _refuse
        return event

    def _received(self) -> int | None:
        """How many deliveries have come; None where one is on its way, or held, or the source pauses."""
        if self._window.held or self._paused or self._ending:
            return None
        if self._fast is not None:
            return self._fast.received
        begun = self._link.stream.tag if isinstance(self._link, LibraryTransport) else self._last_tag
        return self._last_tag if begun == self._last_tag else None

    def _hold(self) -> None:
        # The prefetch bounds the events, and not their bytes.
        self._link.hold()
        if self._stalled is None:
            self._stalled = asyncio.get_running_loop().call_later(_HOLD_S, self._let_go)

    def _let_go(self) -> None:
        """Take nothing more: what is still on its way is read, let go, and given back by the broker when the session ends."""
        if self._window.failed or self._ending:
            return
        self._say_waiting("the window is full, and stays so")
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
            self.fail(describe_end(error))

    def _end(self, cause: str) -> None:
        """End the session once all it has received is written and settled."""
        self._ending = cause
        self._window.close()

    def fail(self, cause: str) -> None:
        """End the session, as if its connection had ended."""
        self._window.fail(cause)
        self._settled.set()

    async def _on_cancel(self, _frame: object) -> None:
        # Of a queue that was deleted, what we hold is all there is.
        self._end(f"the broker cancelled the consumer of queue {self._config.queue!r} (was it deleted?)")

    async def _on_close(self, _sender: object, error: BaseException | None = None, *_: object) -> None:
        if self._channel is not None and self._channel.connection.is_connection_was_stuck:
            self.fail("the broker has shown no sign of life for about three heartbeats")
        else:
            self.fail(describe_end(error) if error else "the connection was closed")


def _read(raw: tuple[Any, str, bool]) -> Details:
    return details(*raw)


def _refuse(unreadable: str) -> Details:
    raise BadEvent("decode", unreadable)


def describe_end(error: BaseException) -> str:
    """Say what ended a connection, or kept it from being made."""
    if isinstance(error.__cause__, BadFrame):
        return str(error.__cause__)  # aiormq wraps it
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, asyncio.CancelledError):
        return "the connection was lost"  # what aiormq says when it ends its own tasks
    # Without the addresses of objects, so that the same fault says the same each time.
    return _ADDRESS.sub("", describe_error(error))
