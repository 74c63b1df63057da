"""Redis pub/sub: channels and patterns; at most once, since Redis keeps no messages.

redis-py's PubSub reconnects silently. Therefore the bridge reads a connection of its own: when it is lost the session
ends, and the gap is logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from redis.exceptions import ResponseError

from bridge.config import RedisPubsub
from bridge.errors import Disconnected
from bridge.model.accounting import Missed
from bridge.model.event import Details, Event, already_parsed
from bridge.observe.logs import RepeatedLog, logger
from bridge.redis_io import rights
from bridge.redis_io.connection import RedisConnection, encode_command
from bridge.redis_io.servers import VersionCheck, not_redis, with_remedy
from bridge.sources.contract import WindowedSession
from bridge.sources.oversized import ROOM_BYTES
from bridge.sources.redis_notifications import NotificationsCheck
from bridge.sources.window import InFlightWindow
from bridge.topics.memory import TopicMemory

#: Interval of PINGs; the beginning of a gap is known as exactly as this. Shorter than the least time after which servers and
#: proxies that end idle connections do so.
_PING_INTERVAL_S: Final = 1.0
#: A connection on which Redis sends nothing for so long is dead. Not sooner: leaving a Redis that only pauses makes a gap.
MAX_SILENCE_S: Final = 25.0

#: A larger message ends the connection, and makes a gap. Redis does so itself, unless its
#: `client-output-buffer-limit pubsub` is set to more (or to 0, and then a message may have 512 MB).
MAX_MESSAGE_BYTES: Final = 32 << 20

log = logger()


class RedisPubsubSource:
    """One subscriber to `channels` and `patterns`.

    It misses the messages between the end of a subscription and the next one, and Redis does not say how many. The time in
    which the bridge did not run is no gap.
    """

    redelivers = False
    read: Callable[[Any], Details] | None = staticmethod(already_parsed)
    deliveries: Callable[[Event], int] | None = None

    def __init__(self, name: str, config: RedisPubsub) -> None:
        self.name = name
        self.missed = Missed()
        self._config = config
        self._repeated = RepeatedLog()
        self._version_check = VersionCheck(name)
        self._notifications_check = NotificationsCheck(name, config)
        # All messages published before this time (`time.monotonic`) were received; None before the first subscription.
        self._complete_until: float | None = None

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[RedisPubsubSession]:
        """See `Source`; every subscription is confirmed."""
        connection = RedisConnection(self._config, timeout_s=MAX_SILENCE_S)
        session = RedisPubsubSession(self.name, self._config, connection)
        tasks: list[asyncio.Task[None]] = []
        subscribed = False
        try:
            await connection.open()
            await self._version_check.run(connection)
            await self._notifications_check.run(connection)
            await session.subscribe()
            self._log_gap()
            subscribed = True
            tasks.append(asyncio.create_task(session.read(), name=f"source:{self.name}:read"))
            tasks.append(asyncio.create_task(session.ping(), name=f"source:{self.name}:ping"))
            yield session
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await connection.close()
            session.fail("the connection was closed")
            if subscribed:
                self._complete_until = session.complete_until

    def _log_gap(self) -> None:
        if self._complete_until is not None:
            self.missed.gaps += 1
            self._repeated.write(
                "gap",
                self._say_gap,
                "source.gap",
                sums=["seconds"],
                seconds=time.monotonic() - self._complete_until,
                gaps=self.missed.gaps,
            )

    def _say_gap(self, event: str, *, seconds: float, gaps: int, repeated: int) -> None:
        log.warning(event, source=self.name, seconds=round(seconds, 1), gaps=gaps, repeated=repeated)


class RedisPubsubSession(WindowedSession):
    """One subscribed connection.

    All messages published before `complete_until` (`time.monotonic`) were received: it is the time of the last PING that
    was answered. The connection's end would be too late, since a half-open connection is noticed long after, and so is
    that of a subscriber which Redis dropped for being too slow.
    """

    def __init__(self, name: str, config: RedisPubsub, connection: RedisConnection) -> None:
        self.complete_until = time.monotonic()
        self._name = name
        self._config = config
        self._connection = connection
        connection.max_reply_bytes = max(MAX_MESSAGE_BYTES, config.max_body + ROOM_BYTES)
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._window = InFlightWindow(config.window, self._has_room.set, redelivered=False)
        self._topics: TopicMemory[bytes, str] = TopicMemory()

    async def subscribe(self) -> None:
        """Subscribe to all channels and patterns, and wait for every confirmation.

        Raises:
            Disconnected: Redis does not answer within `connect_timeout`, or refuses.
        """
        expected = 0
        for name, topics in (("SUBSCRIBE", self._config.channels), ("PSUBSCRIBE", self._config.patterns)):
            if topics:
                self._connection.send(encode_command(name, *topics))
                expected += len(topics)
        try:
            async with asyncio.timeout(self._config.connect_timeout / 1000):
                while expected:
                    reply = await self._connection.read()
                    if not isinstance(reply, list):
                        raise Disconnected(not_redis(reply))
                    if reply[0] in (b"subscribe", b"psubscribe"):
                        expected -= 1
                    else:
                        self._handle([reply])
        except TimeoutError:
            raise Disconnected("no answer to SUBSCRIBE") from None
        except ResponseError as error:
            cause = rights.with_line(with_remedy(str(error)), self._config, channels=self._permitting())
            raise Disconnected(cause) from None

    def _permitting(self) -> list[str]:
        """Return the patterns of an ACL that permit all channels and patterns."""
        return [*map(rights.literal, self._config.channels), *self._config.patterns]

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """Make room: Redis pub/sub has no acknowledgements."""
        self._window.acknowledged(events)

    async def pause(self) -> None:
        """Unsubscribe; messages that Redis has already sent are still received."""
        # If the connection has ended, `read` fails the session once it has taken the replies that came before.
        with contextlib.suppress(Disconnected):
            self._connection.send(encode_command("UNSUBSCRIBE") + encode_command("PUNSUBSCRIBE"))

    async def read(self) -> None:
        """Read until the connection ends; while the window is full, read nothing, so that TCP holds Redis back."""
        try:
            while True:
                if self._window.full:
                    self._has_room.clear()
                    await self._has_room.wait()
                self._handle(await self._connection.read_all(self._window.room[0]))
        except (Disconnected, ResponseError) as error:
            self._window.fail(str(error))

    async def ping(self) -> None:
        """Send PINGs, so that a half-open connection runs into `read`'s timeout."""
        # If the connection has ended, `read` fails the session: see `pause`.
        with contextlib.suppress(Disconnected):
            while True:
                await asyncio.sleep(_PING_INTERVAL_S)
                # Not while the window is full: a Redis that has dropped a slow subscriber answers a PING with a reset,
                # and then the kernel discards half of the messages sent before (observed).
                if not self._window.full:
                    # The answer follows all messages that Redis sent before it, and repeats the time of the question.
                    self._connection.send(encode_command("PING", str(time.monotonic())))

    def _handle(self, replies: list[Any]) -> None:
        """Put the messages among `replies` into the window: `message, channel, body` or `pmessage, pattern, channel, body`."""
        now_ms = time.time_ns() // 1_000_000
        name, topics = self._name, self._topics
        events: list[Event] = []
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
            kind = reply[0]
            if kind in {b"message", b"pmessage"}:
                channel, body = reply[-2], reply[-1]
                topic = topics.get(channel)
                if topic is not None:
                    events.append(Event(name, topic, body, now_ms, size=len(channel) + len(body)))
                else:
                    events.append(self._event(channel, body, now_ms))
            elif kind == b"pong":
                self.complete_until = float(reply[1])
            elif kind in (b"unsubscribe", b"punsubscribe") and reply[2] == 0:
                self._window.close()
        if events:
            self._window.put(events)

    def _event(self, channel: bytes, body: bytes, now_ms: int) -> Event:
        """Return an event of a channel that is not remembered yet, and remember its name."""
        event = Event(self._name, "", body, now_ms, size=len(channel) + len(body))
        try:
            event.topic = channel.decode()
        except UnicodeDecodeError:
            event.topic = channel.decode("utf-8", "backslashreplace")
            event.defect = "the channel's name is not UTF-8"
        else:
            self._topics.remember(channel, event.topic)
        return event
