"""Poison: the event that ends the process whenever it is processed.

Nobody can tell it by looking. So what comes again, after a crash or a lost connection, is counted in Redis before it
is routed, and forgotten once it was: only what was being routed when the process ended keeps its count. From
`ALONE` on an event is counted and routed by itself, so that the others of its batch get away; at `GIVEN_UP` it
becomes a dead letter, unseen by any decoder or route.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from typing import Final, Protocol

from bridge.batch import Batch, DeadLetter
from bridge.errors import SinkUnavailable
from bridge.event import Event
from bridge.observe.logs import Repeats, logger
from bridge.router import Counts, Router

log = logger()
ALONE: Final = 5
GIVEN_UP: Final = 10


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


class Suspicion:
    """Routes the events of `source`, the ones that come again with care."""

    def __init__(self, source: str, router: Router, attempts: Attempts) -> None:
        self._source = source
        self._router = router
        self._attempts = attempts
        self._repeats = Repeats()

    @staticmethod
    def falls_on(batch: Batch) -> bool:
        """Tell whether something in `batch` was delivered before."""
        return True in [event.redelivered for event in batch.events]  # half of the time that any(...) takes

    async def route(self, batch: Batch) -> Counts:
        """Add to `batch` what its events come to, and return their counts.

        Raises:
            SinkUnavailable: what has come again can't be counted now; nothing was added.
        """
        suspects = _fingerprints(batch.events)
        before = await self._attempts.begin(self._source, suspects, below=ALONE)
        if max(before) < ALONE:
            counts = self._router.route(batch)
            await self._forget(suspects)
            return counts
        guilty = {suspect for suspect, attempts in zip(suspects, before, strict=True) if attempts >= ALONE}
        total = Counts()
        routed = Batch([], batch.writer)
        for alone, run in groupby(batch.events, lambda event: event.redelivered and _fingerprint(event) in guilty):
            events = list(run)
            for part in [[event] for event in events] if alone else [events]:
                one = Batch(part, batch.writer)
                total.add(await self._route_part(one))
                routed.extend(one)
        batch.queues, batch.dead_letters = routed.queues, routed.dead_letters
        return total

    async def _route_part(self, part: Batch) -> Counts:
        suspects = _fingerprints(part.events)
        if not suspects:
            return self._router.route(part)
        before = await self._attempts.begin(self._source, suspects, below=GIVEN_UP)
        if max(before) >= GIVEN_UP:
            detail = f"the bridge has ended {max(before)} times while it was processed"
            part.dead_letters.append((0, DeadLetter(part.events[0], "poison", detail)))
            return Counts(received=1, dead_lettered=1)
        left_out = self._repeats.allow("suspected")
        if left_out is not None:
            log.warning("event.suspected", source=self._source, attempts=max(before), repeated=left_out)
        counts = self._router.route(part)
        await self._forget(suspects)
        return counts

    async def _forget(self, suspects: Sequence[bytes]) -> None:
        # They are routed: should Redis be away by now, they only are suspected a little sooner the next time.
        with suppress(SinkUnavailable):
            await self._attempts.forget(self._source, suspects)


def _fingerprints(events: Sequence[Event]) -> list[bytes]:
    """Return those of what was delivered before, each once: a thousand equal readings are one suspect."""
    return list({_fingerprint(event): None for event in events if event.redelivered})


def _fingerprint(event: Event) -> bytes:
    digest = hashlib.blake2b(event.topic.encode("utf-8", "surrogatepass"), digest_size=12)
    digest.update(b"\0" + event.identity + b"\0")
    digest.update(event.body)
    return digest.digest()
