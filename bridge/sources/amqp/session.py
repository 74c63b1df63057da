"""A session of AMQP: one connection with one channel and one consumer."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import aio_pika
from aiormq.abc import DeliveredMessage

from bridge.config import Amqp, Binding
from bridge.errors import Disconnected, describe_error
from bridge.model.event import Details, Event
from bridge.observe.logs import logger
from bridge.sources.amqp.consumer_check import ConsumerCheck
from bridge.sources.amqp.frames import INITIAL_FRAME_MAX, BadFrame
from bridge.sources.amqp.look import is_stream
from bridge.sources.amqp.promise import PromiseLog
from bridge.sources.amqp.properties import details, readable_details
from bridge.sources.amqp.stream import StreamReader
from bridge.sources.amqp.transport import FastTransport, LibraryTransport
from bridge.sources.contract import WindowedSession
from bridge.sources.window import InFlightWindow

log = logger()
_CLOSE_TIMEOUT_S: Final = 2.0
#: A part of it: on a silent link the connection has to be closed all the same.
_FLUSH_TIMEOUT_S: Final = 1.0
_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")
#: Shown by `rabbitmqctl list_consumers`. A tag belongs to its channel, so it need not be unique.
_CONSUMER_TAG: Final = "dramatiq-bridge"
#: How long reading may pause. RabbitMQ closes a connection that it cannot send to for 30 s (ranch's `send_timeout`;
#: observed), and aiormq one on which it reads nothing for 6 s if the heartbeat is 1 s.
_MAX_READ_PAUSE_S: Final = 4.0
_LATE_S: Final = 1.0
#: RabbitMQ's `consumer_timeout`, within which a delivery must be acknowledged, is longer (30 min unless it is set).
_MIN_CONSUMER_TIMEOUT_S: Final = 1.0


class AmqpSession(WindowedSession):
    """See `Session`; `log_waiting` is called with the cause when it takes no more deliveries for long."""

    def __init__(
        self,
        name: str,
        config: Amqp,
        transport: FastTransport | LibraryTransport,
        promise: PromiseLog,
        *,
        stream: StreamReader,
        consumer_check: ConsumerCheck,
        log_waiting: Callable[[str], None],
    ) -> None:
        self._name = name
        self._config = config
        self._transport = transport
        self._promise = promise
        self._stream = stream
        self._consumer_check = consumer_check
        self._log_waiting = log_waiting
        self.guarantee = promise.guarantee
        self._has_received = False
        # The transport, once deliveries come through it.
        self._fast: FastTransport | None = None
        self._window = InFlightWindow(config.window, self.resume_reading, redelivered=True)
        self._channel: Any = None
        self._has_spare_channel = True
        self._last_tag = 0
        # Why the session ends as soon as all its events are acknowledged, or "".
        self._end_cause = ""
        self._paused = False
        self._discarding = False
        self._acknowledged = asyncio.Event()
        self._acknowledged_at = time.monotonic()
        self._has_acknowledged = False
        self._read_pause_timer: asyncio.TimerHandle | None = None
        self._cancelling: asyncio.Task[None] | None = None

    async def start(self, connection: aio_pika.Connection, *, transport_used: bool) -> None:
        """Open the channel, declare, and consume; `transport_used` says whether aiormq reads through our transport."""
        connection.close_callbacks.add(self._on_close)
        channel = connection.channel(publisher_confirms=False)
        await channel.initialize()
        channel.close_callbacks.add(self._on_close)
        # The prefetch bounds the events that are not acknowledged: aio-pika's own buffer has no bound.
        await channel.set_qos(prefetch_count=self._config.window.events)
        queue = await self._declare(channel)
        self._channel = await channel.get_underlay_channel()
        self._channel.on_consumer_cancel_callbacks.add(self._on_cancel)
        self._has_spare_channel = self._consumer_check.is_possible(self._channel.connection)
        self._promise.look_at_server(self._channel.connection.server_properties, checked=self._has_spare_channel)
        self._transport.set_frame_max(self._channel.connection.connection_tune.frame_max or INITIAL_FRAME_MAX)
        if isinstance(self._transport, FastTransport):
            if transport_used:
                self._fast = self._transport
                self._fast.consume(self._channel.number, _CONSUMER_TAG, self._window, self._pause_reading)
            else:
                cause = "aiormq has not asked our transport for its connection"
                self._promise.fast_path_unavailable(cause)
        else:
            self._transport.stream.channel = self._channel.number
        arguments = await self._stream_arguments(queue)
        await self._channel.basic_consume(queue, self._on_message, arguments=arguments, consumer_tag=_CONSUMER_TAG)

    async def watch_consumer(self) -> None:
        """Fail the session once its consumer is lost; return at once where the broker allows no channel for the check."""
        if self._has_spare_channel:
            connection, find_lost = self._channel.connection, self._find_lost
            self.fail(await self._consumer_check.wait_until_lost(connection, self._received_count, find_lost))

    async def receive(self) -> list[Event]:
        """See `Session`; a session that is to end does so once all its events are acknowledged."""
        events = await self._window.take()
        if events and not self._has_received:
            self._has_received = True
            if cause := await self._stream.discover(events[0]):
                self.fail(cause)
                raise Disconnected(cause)
            self._promise.look_at_first(events[0], is_kept=self._stream.is_known)
        if events and self._stream.is_known and (cause := self._stream.take(events)):
            self.fail(cause)
            raise Disconnected(cause)
        if events or not self._end_cause:
            return events
        while self._window.held and not self._window.failed:
            self._acknowledged.clear()
            await self._acknowledged.wait()
        self.fail(self._end_cause)
        raise Disconnected(self._end_cause)

    def resume_reading(self) -> None:
        """Read again if reading is paused."""
        if self._read_pause_timer is not None:
            self._read_pause_timer.cancel()
            self._read_pause_timer = None
        self._transport.resume_reading()

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """See `Session`; one frame acknowledges all deliveries up to the last of `events`."""
        try:
            if not self._window.failed:
                await self._acknowledge(events[-1].token)
        except Exception as error:  # noqa: BLE001 - aiormq raises anything
            self.fail(describe_end(error))
        finally:
            self._window.acknowledged(events)
            self._acknowledged.set()
            self._acknowledged_at = time.monotonic()
            self._has_acknowledged = True

    async def pause(self) -> None:
        """Cancel the consumer; deliveries that the broker has already sent are still received."""
        self._paused = True
        self.resume_reading()
        await self._cancel()
        self._window.close()

    async def close(self, connection: aio_pika.Connection) -> None:
        """Close the connection once every acknowledgement is sent; say so if the broker does not confirm it in time."""
        # A pause that the broker has not answered in time has ended the session: what came last is not even acknowledged.
        is_confirmed, has_failed = True, self._window.failed
        with contextlib.suppress(Exception):
            self._stream.end()
            try:
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    is_confirmed = await self._flush()
                    await connection.close()
            except TimeoutError:
                is_confirmed = False
        if self._paused and (has_failed or not is_confirmed) and self._has_acknowledged and not self._stream.is_known:
            cause = (
                "the broker did not confirm the end of the connection in time: the events that came last may come again"
            )
            log.warning("source.close_unconfirmed", source=self._name, cause=cause)

    async def _flush(self) -> bool:
        """Send the library's queued frames, which aiormq drops where it closes a connection (7.2.4, observed)."""
        if self._fast is None and self._channel is not None:
            try:
                await asyncio.wait_for(self._channel.close(), _FLUSH_TIMEOUT_S)
            except TimeoutError:
                return False
            except Exception:  # noqa: BLE001 - aiormq raises anything; the connection has ended
                return True
        return True

    async def _acknowledge(self, tag: Any) -> None:
        if self._fast is not None and not self._channel.is_closed:
            self._fast.acknowledge(tag)
        else:
            await self._channel.basic_ack(tag, multiple=True, wait=False)

    async def _stream_arguments(self, queue: str) -> dict[str, Any] | None:
        if not self._stream.is_known:
            return None
        return await self._stream.begin(self._channel.connection, queue, can_look=self._has_spare_channel)

    async def _declare(self, channel: Any) -> str:
        """Return the queue's name in the broker's answer: RabbitMQ leaves out line breaks (observed)."""
        config = self._config
        declare = config.declare
        if declare is None:
            return str((await channel.declare_queue(config.queue, passive=True)).name)
        queue = await channel.declare_queue(config.queue, durable=declare.durable, arguments=declare.arguments or None)
        if declare.exchange:
            exchange = await channel.declare_exchange(declare.exchange, declare.type, durable=declare.durable)
            for binding in declare.bindings or [Binding()]:
                await queue.bind(exchange, binding.key, arguments=binding.arguments or None)
        return str(queue.name)

    async def _on_message(self, message: DeliveredMessage) -> None:
        tag = message.delivery_tag or 0
        if self._discarding:
            return
        if tag != self._last_tag + 1:
            # An acknowledgement covers all earlier tags: it would lose the event of a tag that was skipped.
            self.fail(f"delivery {tag} came after {self._last_tag}")
            return
        self._last_tag = tag
        self._window.put([self._event(message, tag)])
        if self._window.over_byte_limit:
            self._pause_reading()

    def _event(self, message: DeliveredMessage, tag: int) -> Event:
        # Not the message itself: its channel refers to the session, and the session to the event (see `Event`).
        raw = (message.header.properties, message.exchange or "", bool(message.redelivered))
        event = Event(
            self._name, message.routing_key or "", message.body, time.time_ns() // 1_000_000, tag, raw, _read_details
        )
        event.redelivered = raw[2]
        event.size = len(message.body) + len(event.topic)
        if isinstance(self._transport, LibraryTransport):
            event.size = len(message.body) + self._transport.stream.sizes.pop(tag, 0)
            event.defect = self._transport.stream.unreadable_names.pop(tag, "")
            event.skip(self._transport.stream.skipped.pop(tag, 0))
            header = self._transport.stream.headers.pop(tag, None)
            if header is not None:
                event.raw, event.read = (header, *raw[1:]), _read_header
        return event

    def _received_count(self) -> int | None:
        """Return how many deliveries have come; None while one is incomplete or held, or while no more are wanted."""
        if self._window.held or self._paused or self._end_cause:
            return None
        if self._fast is not None:
            return self._fast.received_count
        last_begun = (
            self._transport.stream.last_tag if isinstance(self._transport, LibraryTransport) else self._last_tag
        )
        return self._last_tag if last_begun == self._last_tag else None

    def _pause_reading(self) -> None:
        # The prefetch bounds the events, but not their bytes.
        self._transport.pause_reading()
        if self._read_pause_timer is None:
            self._read_pause_timer = asyncio.get_running_loop().call_later(_MAX_READ_PAUSE_S, self._stop_consuming)

    def _stop_consuming(self) -> None:
        """Cancel the consumer, and discard all further deliveries: the broker redelivers them to the next session."""
        if self._window.failed or self._end_cause:
            return
        timer, loop = self._read_pause_timer, asyncio.get_running_loop()
        if timer is not None and loop.time() > timer.when() + _LATE_S:
            # The process stood still, and could not acknowledge anything.
            self._read_pause_timer = loop.call_later(_MAX_READ_PAUSE_S, self._stop_consuming)
            return
        self._log_waiting("the window is full, and stays so")
        self._discarding = True
        if self._fast is not None:
            self._fast.discard()
        self.resume_reading()
        self._cancelling = asyncio.create_task(self._cancel(nowait=True), name=f"source:{self._name}:cancel")
        self._end_once_acknowledged("the window was full for long: what was on its way is delivered again")

    async def _cancel(self, *, nowait: bool = False) -> None:
        try:
            await asyncio.wait_for(self._channel.basic_cancel(_CONSUMER_TAG, nowait=nowait), _CLOSE_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - aiormq raises anything
            self.fail(describe_end(error))

    def _end_once_acknowledged(self, cause: str) -> None:
        """End the session once all its events are acknowledged."""
        self._end_cause = cause
        self._window.close()

    def fail(self, cause: str) -> None:
        """See `Session`."""
        self._window.fail(cause)
        self._acknowledged.set()

    async def _find_lost(self, connection: Any) -> str:
        if self._stream.is_known:
            return await self._stream.find_lost(connection)
        if self._stream.is_seen:
            return ""
        cause = await self._consumer_check.look_at_queue(connection)
        # RabbitMQ counts no consumers of a stream, and every event waits in it for ever.
        if cause and await is_stream(connection, self._config.queue):
            self._stream.is_seen = True
            self._promise.say_stream()
            return ""
        return cause

    async def _on_cancel(self, _frame: object) -> None:
        self._cancelling = asyncio.create_task(self._explain_cancel(), name=f"source:{self._name}:cancelled")

    async def _explain_cancel(self) -> None:
        """End the session, at once if the broker has taken its deliveries back, else once it is written."""
        queue, cause = self._config.queue, "the broker cancelled the consumer of queue"
        try:
            if not self._has_spare_channel:
                raise Disconnected("no second channel")
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                channel = await self._channel.connection.channel(publisher_confirms=False)
                found = await channel.queue_declare(queue, passive=True)
        except Exception as error:  # noqa: BLE001 - aiormq raises anything
            self._consumer_check.note_refusal(error)
            # The queue was deleted: nobody else has the events that we hold. Or nothing is known: as if it were so.
            self._end_once_acknowledged(f"{cause} {queue!r} (was it deleted?)")
            return
        # RabbitMQ 4.3 does so when a delivery is not acknowledged within its `consumer_timeout`, and gives all that we hold
        # to others, or to our next consumer. A queue that was deleted and made again looks alike, and has nothing of it: so
        # only deliveries that have waited are forgotten, and only where they can be with others or in the queue.
        has_waited = time.monotonic() - self._acknowledged_at > _MIN_CONSUMER_TIMEOUT_S
        held = self._window.held
        if held and has_waited and (found.consumer_count or found.message_count >= held):
            self.fail(f"{cause} {queue!r}, and delivers what was not acknowledged in time again")
        else:
            self._end_once_acknowledged(f"{cause} {queue!r} (was it made again?)")

    async def _on_close(self, _sender: object, error: BaseException | None = None, *_: object) -> None:
        if isinstance(error, Exception):
            self._consumer_check.note_refusal(error)
        if self._channel is not None and self._channel.connection.is_connection_was_stuck:
            self.fail("the broker has shown no sign of life for about three heartbeats")
        else:
            self.fail(describe_end(error) if error else "the connection was closed")


def _read_details(raw: tuple[Any, str, bool]) -> Details:
    return details(*raw)


def _read_header(raw: tuple[bytes, str, bool]) -> Details:
    return readable_details(*raw)


def describe_end(error: BaseException) -> str:
    """Return why a connection ended, or was not made."""
    if isinstance(error.__cause__, BadFrame):
        return str(error.__cause__)  # aiormq wraps it
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, asyncio.CancelledError):
        return "the connection was lost"  # aiormq raises it when it ends its own tasks
    # Without the addresses of objects, so that the same fault gives the same text each time.
    return _ADDRESS.sub("", describe_error(error))
