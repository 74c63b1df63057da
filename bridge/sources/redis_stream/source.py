"""Redis Streams: a consumer group over several streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from bridge.config import Dramatiq, RedisStream
from bridge.model.event import Details, Event
from bridge.redis_io.client import user_of
from bridge.redis_io.servers import VersionCheck
from bridge.sources.redis_stream.group import Group
from bridge.sources.redis_stream.positions import Positions
from bridge.sources.redis_stream.session import RedisStreamSession


class RedisStreamSource:
    """One consumer of a group; `in_sink` says whether the streams are in the Redis that the sink writes to.

    `group` outlives the connections: it counts trimmed entries, and knows the last ones that were written.
    """

    redelivers = True
    read: Callable[[Any], Details] | None = None
    deliveries: Callable[[Event], int] | None = None

    def __init__(self, name: str, config: RedisStream, dramatiq: Dramatiq, *, in_sink: bool) -> None:
        self.name = name
        self.group = Group(name, config, Positions(name, config.group, dramatiq, in_sink=in_sink))
        self.missed = self.group.missed
        self._config = config
        self._in_sink = in_sink
        self._acknowledges = not in_sink or user_of(config) == user_of(dramatiq)
        self._version_check = VersionCheck(name)
        # Whether the last connection ended because a reply was too large.
        self._reads_one_by_one = False

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[RedisStreamSession]:
        """See `Source`; the group is created where it is missing."""
        session = RedisStreamSession(
            self.name, self._config, self.group, in_sink=self._in_sink, acknowledges=self._acknowledges
        )
        if self._reads_one_by_one:
            session.read_one_by_one()
        try:
            await session.open(self._version_check)
            yield session
        finally:
            await session.close()
            self._reads_one_by_one = session.reply_too_large
