"""The filters that the broker has granted to one client_id, kept in Dramatiq's Redis: an MQTT broker can't list them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from bridge.config import Dramatiq, Mqtt
from bridge.observe.log_fields import without_numbers
from bridge.observe.logs import RepeatedLog, logger
from bridge.redis_io.connection import Word
from bridge.redis_io.patience import ask_until_answered

log = logger()
_SESSION_LOST: Final = (
    "the broker kept no session for this client_id: what was published while nobody was connected may be lost"
)
#: The session expires `session_expiry` after its connection ended. The record lives a day longer, and a connection
#: renews it twice a day.
_EXTRA_LIFETIME_MS: Final = 24 * 3600 * 1000
_RENEW_INTERVAL_S: Final = 12 * 3600.0


class SubscriptionStore:
    """The record of one session's filters: one key, `<namespace>-bridge:subscriptions:<source>:<client_id>`.

    Only GET and SET are used, which the ACL allows anyway. A record also tells a new process that there was a session.
    With `orphaned`, all `topics` are to be unsubscribed: see `bridge.sources.mqtt.orphans`.
    """

    def __init__(
        self, name: str, config: Mqtt, topics: Sequence[str], dramatiq: Dramatiq, *, orphaned: bool = False
    ) -> None:
        self._name = name
        self._client_id = config.client_id
        self._topics = frozenset(() if orphaned else topics)
        # Also unsubscribe from filters that were never recorded: the process may have died between subscribing and
        # recording.
        self._unwanted = frozenset(topics if orphaned else ())
        self._dramatiq = dramatiq
        self._key = record_key(name, config.client_id, dramatiq)
        # A client of MQTT 3.1.1 can't know when its session expires: its record never does.
        self._lifetime_ms = config.session_expiry + _EXTRA_LIFETIME_MS if config.version == "5" else None
        self._loses_events = config.qos > 0
        self._had_session = self._session_present = False
        #: Set once the record has all that this process is subscribed to.
        self.recorded = asyncio.Event()
        self._log_if_recorded = False
        self._repeated = RepeatedLog()

    def connected(self, *, session_present: bool) -> None:
        """Log a lost session; if this process has never had one, `maintain` decides by the record."""
        if not session_present:
            if not self._had_session:
                self._log_if_recorded = True
            elif self._topics:
                self._log_session_lost()
        self._had_session, self._session_present = True, session_present

    async def maintain(self, unsubscribe: Callable[[list[str]], Awaitable[list[str]]]) -> None:
        """Unsubscribe from the filters of an earlier configuration, and renew the record until cancelled.

        `unsubscribe` returns the filters that the broker refuses to unsubscribe. Waits for Redis: meanwhile events flow,
        and only the stale filters stay subscribed.
        """
        (record,) = await redis_answers(self._name, self._dramatiq, self._repeated, ("GET", self._key))
        recorded = _filters(record)
        if self._log_if_recorded and recorded:
            self._log_session_lost()
        self._log_if_recorded = False
        filters = self._topics
        if stale := sorted((recorded | self._unwanted) - filters):
            if filters - recorded:
                await self._write(recorded | filters)
            filters |= set(await unsubscribe(stale))
        if not (filters or recorded or self._session_present):
            self.recorded.set()
            return  # the session had expired: let its empty record expire too
        await self._write(filters)
        self.recorded.set()
        while self._lifetime_ms is not None:
            await asyncio.sleep(_RENEW_INTERVAL_S)
            await self._write(filters)

    def _log_session_lost(self) -> None:
        if self._loses_events:
            self._repeated.write(
                "lost",
                log.warning,
                "source.session_lost",
                source=self._name,
                client_id=self._client_id,
                cause=_SESSION_LOST,
            )

    async def _write(self, filters: frozenset[str]) -> None:
        lifetime = () if self._lifetime_ms is None else ("PX", self._lifetime_ms)
        command = ("SET", self._key, msgspec.json.encode(sorted(filters)), *lifetime)
        await redis_answers(self._name, self._dramatiq, self._repeated, command)


def record_key(name: str, client_id: str | None, dramatiq: Dramatiq) -> str:
    """Return the key of the record of `client_id` at source `name`."""
    return f"{dramatiq.namespace}-bridge:subscriptions:{name}:{client_id}"


async def redis_answers(name: str, dramatiq: Dramatiq, repeated: RepeatedLog, *commands: Sequence[Word]) -> list[Any]:
    """Return Redis's answers to `commands`; waits for Redis."""

    def log_failure(cause: str, wait_s: float) -> None:
        repeated.write(
            ("unavailable", without_numbers(cause)),
            log.warning,
            "source.subscriptions_not_recorded",
            source=name,
            cause=cause,
            retry_in=round(wait_s, 2),
        )

    return await ask_until_answered(dramatiq, commands, log_failure)


def _filters(record: bytes | None) -> frozenset[str]:
    try:
        return frozenset(msgspec.json.decode(record or b"[]", type=list[str]))
    except msgspec.DecodeError:
        return frozenset()  # not written by a bridge
