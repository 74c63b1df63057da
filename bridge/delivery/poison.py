"""Poison: the event that ends the process whenever it is processed.

Nobody can tell it by looking. So what comes again, after a crash or a lost connection, is counted in Redis before it
is routed, and forgotten once it was: only what was being routed when the process ended keeps its count. From
`ISOLATE_AFTER` on an event is counted and routed by itself, so that the others of its batch get away; at `DEAD_LETTER_AFTER` it
becomes a dead letter, unseen by any decoder or route.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import groupby
from typing import Final, Protocol

from bridge.errors import SinkUnavailable
from bridge.model.batch import Batch, DeadLetter
from bridge.model.event import Event
from bridge.observe.logs import LogThrottle, logger
from bridge.routing.router import Counts, Router

log = logger()
ISOLATE_AFTER: Final = 5
DEAD_LETTER_AFTER: Final = 10
_MOST_BEGUN: Final = 10_000


class Attempts(Protocol):
    """Counts attempts where they survive the process."""

    async def begin(self, source: str, events: Sequence[bytes], *, below: int) -> list[int]:
        """Return how often each event was attempted before; begin one more of each, unless one has `below` or more.

        Raises:
            SinkUnavailable: they can't be counted now.
        """
        ...

    async def forget(self, source: str, events: Sequence[bytes]) -> None:
        """Forget the attempts.

        Raises:
            SinkUnavailable: they can't be forgotten now.
        """
        ...


class PoisonGuard:
    """Routes the events of `source`, the ones that come again with care."""

    def __init__(self, source: str, router: Router, attempts: Attempts) -> None:
        self._source = source
        self._router = router
        self._attempts = attempts
        self._throttle = LogThrottle()
        #: What this process has counted and not forgotten yet: it can end the process once.
        self._counted: dict[bytes, int] = {}

    @staticmethod
    def has_redelivered(batch: Batch) -> bool:
        """Tell whether something in `batch` was delivered before."""
        return True in [event.redelivered for event in batch.events]  # half of the time that any(...) takes

    async def route(self, batch: Batch) -> Counts:
        """Add to `batch` what its events come to, and return their counts.

        Raises:
            SinkUnavailable: what has come again can't be counted now; nothing was added.
        """
        suspects = _fingerprints(batch.events)
        before = await self._begin(suspects, below=ISOLATE_AFTER)
        if max(before) < ISOLATE_AFTER:
            routed = Batch(batch.events, batch.sequence)
            counts = self._router.route(routed)
            await self._forget(suspects)
            # Only now: what is tried again after SinkUnavailable, or elsewhere, is routed again.
            batch.queues, batch.dead_letters = routed.queues, routed.dead_letters
            return counts
        guilty = {suspect for suspect, attempts in zip(suspects, before, strict=True) if attempts >= ISOLATE_AFTER}
        total = Counts()
        routed = Batch([], batch.sequence)
        for alone, run in groupby(batch.events, lambda event: event.redelivered and _fingerprint(event) in guilty):
            events = list(run)
            for part in [[event] for event in events] if alone else [events]:
                one = Batch(part, batch.sequence)
                total.add(await self._route_part(one))
                routed.extend(one)
        batch.queues, batch.dead_letters = routed.queues, routed.dead_letters
        return total

    async def _route_part(self, part: Batch) -> Counts:
        suspects = _fingerprints(part.events)
        if not suspects:
            return self._router.route(part)
        before = await self._begin(suspects, below=DEAD_LETTER_AFTER)
        if max(before) >= DEAD_LETTER_AFTER and len(part.events) == 1:
            detail = f"the bridge has ended {max(before)} times while it was processed"
            part.dead_letters.append((0, DeadLetter(part.events[0], "poison", detail)))
            return Counts(received=1, dead_lettered=1)
        suppressed = self._throttle.allow("suspected") if max(before) >= ISOLATE_AFTER else None
        if suppressed is not None:
            log.warning("event.suspected", source=self._source, attempts=max(before), repeated=suppressed)
        counts = self._router.route(part)
        await self._forget(suspects)
        return counts

    async def _begin(self, suspects: Sequence[bytes], *, below: int) -> list[int]:
        if len(self._counted) > _MOST_BEGUN:
            self._counted.clear()
        fresh = [suspect for suspect in suspects if suspect not in self._counted]
        counts = dict(self._counted)
        if fresh:
            before = await self._attempts.begin(self._source, fresh, below=below)
            counts.update(zip(fresh, before, strict=True))
            if max(before) < below:
                self._counted.update(zip(fresh, before, strict=True))
        return [counts[suspect] for suspect in suspects]

    async def _forget(self, suspects: Sequence[bytes]) -> None:
        try:
            await self._attempts.forget(self._source, suspects)
        except SinkUnavailable as error:
            # They are routed, and this process does not count them again; the next one suspects them a little sooner.
            suppressed = self._throttle.allow("kept")
            if suppressed is not None:
                log.warning("event.attempts_kept", source=self._source, cause=error.cause, repeated=suppressed)
        else:
            for suspect in suspects:
                self._counted.pop(suspect, None)


def _fingerprints(events: Sequence[Event]) -> list[bytes]:
    """Return those of what was delivered before, each once: a thousand equal readings are one suspect."""
    return list({_fingerprint(event): None for event in events if event.redelivered})


def _fingerprint(event: Event) -> bytes:
    digest = hashlib.blake2b(event.topic.encode("utf-8", "surrogatepass"), digest_size=12)
    digest.update(b"\0" + event.deduplication_key + b"\0")
    digest.update(event.body)
    return digest.digest()
