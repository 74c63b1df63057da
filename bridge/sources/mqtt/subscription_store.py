"""What is known of one client_id beyond one connection: the session its broker keeps, and who else takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
from redis.exceptions import ResponseError

from bridge.backoff import Backoff
from bridge.config import MOST_PROCESSES, Dramatiq, Mqtt
from bridge.config.sources import process_client_id
from bridge.errors import Disconnected, describe_error
from bridge.observe.logs import LogThrottle, logger
from bridge.redis_io.connection import RedisConnection, Word

log = logger()
_LOST: Final = (
    "the broker kept no session for this client_id: what was published while nobody was connected may be lost"
)
#: The record outlives the session, which expires so long after the connection ended; the connection renews it.
_LONGER_MS: Final = 24 * 3600 * 1000
_RENEW_S: Final = 12 * 3600.0

#: So many connections in a row that the broker ended, none of which lasted: it looks like another client's doing.
_SHORT_LIVES: Final = 3
#: Longer than a twin waits before it comes back.
_SHORT_S: Final = 20.0
#: The wait, at most halved by its jitter: long enough to end the quarrel for a while, and still back within 10 s of its end.
_LEAVE_IT_S: Final = 9.0


class SubscriptionStore:
    """The filters that the broker has granted, in Dramatiq's Redis: the broker can't be asked for them.

    GET and SET of one key, `<namespace>-bridge:subscriptions:<source>:<client_id>`: what the ACL allows anyway.
    That there is a record also says that there was a session, to a process that did not see it. `left` is a session
    that is to have no subscription any more: see `left_members`.
    """

    def __init__(
        self, name: str, config: Mqtt, topics: Sequence[str], dramatiq: Dramatiq, *, left: bool = False
    ) -> None:
        self._name = name
        self._client_id = config.client_id
        self._topics = frozenset(() if left else topics)
        #: In vain where it has not, but what it has may not have come to be recorded.
        self._not_topics = frozenset(topics if left else ())
        self._dramatiq = dramatiq
        self._key = _key(name, config.client_id, dramatiq)
        # In MQTT 3.1.1 a session has no end, as far as a client knows.
        self._lifetime_ms = config.session_expiry + _LONGER_MS if config.version == "5" else None
        self._loses = config.qos > 0
        self._had_session = self._present = False
        self._maybe_lost = False
        self._throttle = LogThrottle()

    def connected(self, *, session_present: bool) -> None:
        """Say so if the broker has lost the session; where this process did not see it, the record will tell."""
        if not session_present:
            if not self._had_session:
                self._maybe_lost = True
            elif self._topics:
                self._say_lost()
        self._had_session, self._present = True, session_present

    async def keep(self, unsubscribe: Callable[[list[str]], Awaitable[list[str]]]) -> None:
        """Give up what an earlier configuration subscribed to, and keep the record; ends with the connection.

        Redis may be away: nothing waits for this but the filters that are to go.
        """
        (found,) = await _answers(self._name, self._dramatiq, self._throttle, ("GET", self._key))
        recorded = _filters(found)
        if self._maybe_lost and recorded:
            self._say_lost()
        self._maybe_lost = False
        filters = self._topics
        if stale := sorted((recorded | self._not_topics) - filters):
            if filters - recorded:
                await self._write(recorded | filters)
            filters |= set(await unsubscribe(stale))
        if not (filters or recorded or self._present):
            return  # a session without subscriptions that was not there before: the record ends too
        await self._write(filters)
        while self._lifetime_ms is not None:
            await asyncio.sleep(_RENEW_S)
            await self._write(filters)

    def _say_lost(self) -> None:
        suppressed = self._throttle.allow("lost")
        if self._loses and suppressed is not None:
            log.error(
                "source.session_lost", source=self._name, client_id=self._client_id, problem=_LOST, repeated=suppressed
            )

    async def _write(self, filters: frozenset[str]) -> None:
        lifetime = () if self._lifetime_ms is None else ("PX", self._lifetime_ms)
        command = ("SET", self._key, msgspec.json.encode(sorted(filters)), *lifetime)
        await _answers(self._name, self._dramatiq, self._throttle, command)


async def left_members(name: str, config: Mqtt, dramatiq: Dramatiq, first: int) -> list[Mqtt]:
    """Return the settings of what processes from the number `first` on, which now do not run, were to the broker.

    To their sessions it goes on dealing events of a shared subscription. Who resumes one and gives up its subscriptions
    gets what was dealt to it (observed with mosquitto; MQTT 5, 3.10.4, only says that a server may go on). So does every
    start until the session has expired, since what one has not brought another will.
    """
    if config.client_id is None or not config.keeps_session:
        return []
    # Not up to the first that is missing: it may have ended before it was recorded.
    ids = [process_client_id(config.client_id, number) for number in range(first, MOST_PROCESSES)]
    found = await _answers(name, dramatiq, LogThrottle(), *(("GET", _key(name, one, dramatiq)) for one in ids))
    return [
        config.model_copy(update={"client_id": one, "version": "5"})
        for one, recorded in zip(ids, found, strict=True)
        if recorded is not None
    ]


async def _answers(name: str, dramatiq: Dramatiq, repeats: LogThrottle, *commands: Sequence[Word]) -> list[Any]:
    """Return Redis's answers, however long that takes."""
    backoff = Backoff(first_s=0.5, most_s=30.0)
    while True:
        link = RedisConnection(dramatiq, timeout_s=dramatiq.timeout / 1000)
        try:
            await link.open()
            return [await link.command(*command) for command in commands]
        except (Disconnected, ResponseError) as error:
            cause = describe_error(error)
        finally:
            await link.close()
        wait = backoff.next()
        suppressed = repeats.allow("unavailable", cause)
        if suppressed is not None:
            log.warning(
                "source.subscriptions_not_recorded",
                source=name,
                cause=cause,
                retry_in=round(wait, 2),
                repeated=suppressed,
            )
        await asyncio.sleep(wait)


def _key(name: str, client_id: str | None, dramatiq: Dramatiq) -> str:
    return f"{dramatiq.namespace}-bridge:subscriptions:{name}:{client_id}"


class TakeoverDetector:
    """Finds another client that uses the same client_id, and leaves the session to it for a while.

    MQTT 5 has a reason code for it. mosquitto 2.0.11 closes the connection without a word, in either version (observed).
    """

    def __init__(self, client_id: str | None) -> None:
        self._client_id = client_id
        self._short_lives = 0

    def judged(self, ended: Disconnected, *, taken_over: bool, lived_s: float | None) -> Disconnected:
        """Return why a connection ended.

        `taken_over` is the broker's word; `lived_s` how long it stood before the broker closed it, None if it ended otherwise.
        """
        if self._client_id is None:
            return ended
        self._short_lives = self._short_lives + 1 if lived_s is not None and lived_s < _SHORT_S else 0
        if taken_over:
            cause = f"another client with client_id {self._client_id!r} has taken the session over"
        elif self._short_lives >= _SHORT_LIVES:
            cause = f"{ended.cause}, perhaps taken over by another client with client_id {self._client_id!r}"
        else:
            return ended
        return Disconnected(cause, retry_s=Backoff(first_s=_LEAVE_IT_S, most_s=_LEAVE_IT_S).next())


def _filters(recorded: bytes | None) -> frozenset[str]:
    try:
        return frozenset(msgspec.json.decode(recorded or b"[]", type=list[str]))
    except msgspec.DecodeError:
        return frozenset()  # not ours
