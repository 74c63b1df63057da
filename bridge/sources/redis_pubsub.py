"""Redis pub/sub: channels and patterns; at most once, since Redis keeps nothing.

One connection of our own, not redis-py's PubSub, which reconnects silently: here a lost
connection ends the session, and the gap is said.
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
from bridge.model.event import Details, Event, already_parsed
from bridge.observe.logs import logger
from bridge.redis_io.connection import RedisConnection, command
from bridge.sources.contract import WindowedSession
from bridge.sources.window import InFlightWindow
from bridge.topics.pattern import remember

#: How often a subscriber asks, which is how exactly the beginning of a gap is known.
PING_EVERY_S: Final = 2.0
#: Without a word for this long the link is dead. Not sooner: a Redis that only pauses would be left, and that is a gap.
SILENCE_S: Final = 25.0

log = logger()


class RedisPubsubSource:
    """One subscriber to `channels` and `patterns`.

    `gaps` counts how often a subscription has ended and was made again. What was published in between is lost, and
    nobody knows how much that was: Redis keeps nothing and tells nothing. What a bridge missed while it was not
    running is no gap of its own.
    """

    redelivers = False
    read: Callable[[Any], Details] | None = staticmethod(already_parsed)

    def __init__(self, name: str, config: RedisPubsub) -> None:
        self.name = name
        self.gaps = 0
        self._config = config
        # Everything that was published before was received (`time.monotonic`); None before the first subscription.
        self._complete_until: float | None = None

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[RedisPubsubSession]:
        """Subscribe; yield once every subscription is confirmed."""
        link = RedisConnection(self._config, timeout_s=SILENCE_S)
        session = RedisPubsubSession(self.name, self._config, link)
        tasks: list[asyncio.Task[None]] = []
        subscribed = False
        try:
            await link.open()
            await session.subscribe()
            self._say_gap()
            subscribed = True
            tasks.append(asyncio.create_task(session.read(), name=f"source:{self.name}:read"))
            tasks.append(asyncio.create_task(session.ping(), name=f"source:{self.name}:ping"))
            yield session
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await link.close()
            if subscribed:
                self._complete_until = session.complete_until

    def _say_gap(self) -> None:
        if self._complete_until is not None:
            self.gaps += 1
            seconds = round(time.monotonic() - self._complete_until, 1)
            log.warning("source.gap", source=self.name, seconds=seconds, gaps=self.gaps)


class RedisPubsubSession(WindowedSession):
    """One subscribed connection.

    Everything that was published before `complete_until` (`time.monotonic`) has been received. That is the moment of
    the last PING that was answered, and not the connection's end: a half-open connection is noticed long after, and
    so is that of a subscriber which Redis has dropped because it was too slow.
    """

    def __init__(self, name: str, config: RedisPubsub, link: RedisConnection) -> None:
        self.complete_until = time.monotonic()
        self._name = name
        self._config = config
        self._link = link
        self._room = asyncio.Event()
        self._room.set()
        self._window = InFlightWindow(config.window, self._room.set, redelivered=False)
        self._topics: dict[bytes, str] = {}

    async def subscribe(self) -> None:
        """Subscribe to everything, and wait for every confirmation.

        Raises:
            Disconnected: Redis does not answer, or refuses.
        """
        expected = 0
        for word, topics in (("SUBSCRIBE", self._config.channels), ("PSUBSCRIBE", self._config.patterns)):
            if topics:
                self._link.send(command(word, *topics))
                expected += len(topics)
        try:
            async with asyncio.timeout(self._config.connect_timeout / 1000):
                while expected:
                    reply = await self._link.read()
                    if reply[0] in (b"subscribe", b"psubscribe"):
                        expected -= 1
                    else:
                        self._take([reply])
        except TimeoutError:
            raise Disconnected("no answer to SUBSCRIBE") from None
        except ResponseError as error:
            raise Disconnected(str(error)) from None

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """Make room for more: there is nobody to acknowledge to."""
        self._window.acknowledged(events)

    async def pause(self) -> None:
        """Unsubscribe; what Redis had already sent is still received."""
        # Without a connection `read` says the end, once it has taken what came before it.
        with contextlib.suppress(Disconnected):
            self._link.send(command("UNSUBSCRIBE") + command("PUNSUBSCRIBE"))

    async def read(self) -> None:
        """Read until the connection ends; while the window is full, leave what comes to the socket's buffers."""
        try:
            while True:
                if self._window.full:
                    self._room.clear()
                    await self._room.wait()
                self._take(await self._link.read_all(self._window.room[0]))
        except (Disconnected, ResponseError) as error:
            self._window.fail(str(error))

    async def ping(self) -> None:
        """Ask now and then, so that a half-open connection is noticed by `read`'s timeout."""
        # The end is for `read` to say: it has still to take what came before it.
        with contextlib.suppress(Disconnected):
            while True:
                await asyncio.sleep(PING_EVERY_S)
                # Not while behind: a Redis that has dropped a slow subscriber answers with a reset, upon which the
                # kernel forgets half of what had been sent before (observed).
                if not self._window.full:
                    # The answer stands behind every event that Redis had sent before, and says when it was asked.
                    self._link.send(command("PING", str(time.monotonic())))

    def _take(self, replies: list[Any]) -> None:
        r"""Put the messages among `replies`: `message, channel, body` or `pmessage, pattern, channel, body`."""
        now_ms = time.time_ns() // 1_000_000
        name, topics = self._name, self._topics
        events: list[Event] = []
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
            kind = reply[0]
            if kind in {b"message", b"pmessage"}:
                topic = topics.get(reply[-2])
                if topic is not None:
                    events.append(Event(name, topic, reply[-1], now_ms))
                else:
                    events.append(self._event(reply[-2], reply[-1], now_ms))
            elif kind == b"pong":
                self.complete_until = float(reply[1])
            elif kind in (b"unsubscribe", b"punsubscribe") and reply[2] == 0:
                self._window.close()
        if events:
            self._window.put(events)

    def _event(self, channel: bytes, body: bytes, now_ms: int) -> Event:
        """Return the first event of a channel, whose name is remembered."""
        try:
            topic = channel.decode()
        except UnicodeDecodeError:
            topic = channel.decode("utf-8", "backslashreplace")
            return Event(self._name, topic, body, now_ms, defect="the channel's name is not UTF-8")
        remember(self._topics, channel, topic)
        return Event(self._name, topic, body, now_ms)
