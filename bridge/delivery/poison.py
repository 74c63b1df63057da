"""Poison: an event that ends the process whenever it is processed.

Its content does not show it. So redelivered events are counted in Redis before they are routed, and the count is deleted
afterwards: only events that were being routed when the process ended keep theirs. From
`ISOLATE_AFTER` on an event is counted and routed by itself, so that the others of its batch get away; at
`DEAD_LETTER_AFTER` it becomes a dead letter, unseen by any decoder or route.

This is the policy for every count of deliveries. A broker's own count (`x-delivery-count` of quorum queues) also rises
for innocent events that were held when a process ended: from `ISOLATE_AFTER` on it isolates as well, which needs no
Redis, and alone it makes no dead letter. `x-death` counts the rounds through dead-letter exchanges and Redis's
times-delivered the claims of consumers: neither says that a process has ended, and both are left out. While Redis
takes no writes, redelivered events are not routed, so none of them can end a process uncounted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final, Protocol

from bridge.errors import SinkUnavailable
from bridge.model.accounting import Counts
from bridge.model.batch import MAX_BATCH_BYTES, MAX_BATCH_DEAD_LETTERS, Batch
from bridge.model.event import Event
from bridge.observe.logs import RepeatedLog, logger
from bridge.routing.router import Router

log = logger()
ISOLATE_AFTER: Final = 5
DEAD_LETTER_AFTER: Final = 10
_MAX_COUNTED: Final = 10_000


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
    """Routes batches of `source` that hold redelivered events, with care; for `deliveries`, see `Source`."""

    def __init__(self, source: str, attempts: Attempts, deliveries: Callable[[Event], int] | None) -> None:
        self._source = source
        self._deliveries = deliveries
        self._attempts = attempts
        self._repeated = RepeatedLog()
        #: Events already counted by this process. One process can crash only once, so each is counted once per process.
        self._counted: dict[bytes, int] = {}

    @staticmethod
    def has_redelivered(batch: Batch) -> bool:
        """Tell whether an event in `batch` was delivered before."""
        return True in [event.redelivered for event in batch.events]  # half of the time that any(...) takes

    async def route(self, batch: Batch, router: Router) -> Counts:
        """Route `batch` by `router` as `Router.route` does, and return its counts.

        Raises:
            SinkUnavailable: redelivered events can't be counted now; nothing was added to the batch.
        """
        suspects = _fingerprints(batch.events)
        attempts = await self._begin(suspects, below=ISOLATE_AFTER)
        guilty = {suspect for suspect, count in zip(suspects, attempts, strict=True) if count >= ISOLATE_AFTER}
        guilty |= self._delivered_often(batch.events)
        # Into a batch of its own: after SinkUnavailable the batch is routed again.
        routed = Batch([], batch.sequence, number=batch.number)
        if not guilty:
            routed.events = batch.events
            counts = await router.route_in_turns(routed)
            await self._forget(suspects)
        else:
            counts = await self._route_isolated(batch, guilty, routed, router)
        batch.queues, batch.dead_letters, batch.expired = routed.queues, routed.dead_letters, routed.expired
        batch.spans = routed.spans
        return counts

    async def _route_isolated(self, batch: Batch, guilty: set[bytes], routed: Batch, router: Router) -> Counts:
        """Route each guilty event by itself, and the runs of others between them, into `routed`."""
        total, size = Counts(), 0
        for isolated, run in groupby(batch.events, lambda event: event.redelivered and _fingerprint(event) in guilty):
            events = list(run)
            for part_events in [[event] for event in events] if isolated else [events]:
                part = Batch(part_events, batch.sequence, number=batch.number)
                counts = await self._route_part(part, router)
                total.add(counts)
                size += part.size
                is_full = counts.received < len(part.events) or size >= MAX_BATCH_BYTES
                is_full |= len(routed.dead_letters) + len(part.dead_letters) >= MAX_BATCH_DEAD_LETTERS
                del part.events[counts.received :]
                routed.extend(part)
                if is_full:
                    return total
        return total

    async def _route_part(self, part: Batch, router: Router) -> Counts:
        suspects = _fingerprints(part.events)
        if not suspects:
            return await router.route_in_turns(part)
        attempts = max(await self._begin(suspects, below=DEAD_LETTER_AFTER))
        if attempts >= DEAD_LETTER_AFTER and len(part.events) == 1:
            detail = f"the bridge has ended {attempts} times while it was processed"
            part.dead_letters.append((0, router.dead_letter(part.events[0], "poison", detail)))
            return Counts(received=1, dead_lettered=1, reasons={"poison": 1})
        if attempts >= ISOLATE_AFTER:
            self._repeated.write("suspected", log.warning, "event.suspected", source=self._source, attempts=attempts)
        counts = await router.route_in_turns(part)
        await self._forget(suspects)
        return counts

    def _delivered_often(self, events: Sequence[Event]) -> set[bytes]:
        count = self._deliveries
        if count is None:
            return set()
        return {_fingerprint(event) for event in events if event.redelivered and count(event) >= ISOLATE_AFTER}

    async def _begin(self, suspects: Sequence[bytes], *, below: int) -> list[int]:
        """Return how often each suspect was attempted before this process."""
        if len(self._counted) > _MAX_COUNTED:
            self._counted.clear()
        fresh = [suspect for suspect in suspects if suspect not in self._counted]
        attempts = dict(self._counted)
        if fresh:
            before = await self._attempts.begin(self._source, fresh, below=below)
            attempts.update(zip(fresh, before, strict=True))
            if max(before) < below:
                self._counted.update(zip(fresh, before, strict=True))
        return [attempts[suspect] for suspect in suspects]

    async def _forget(self, suspects: Sequence[bytes]) -> None:
        try:
            await self._attempts.forget(self._source, suspects)
        except SinkUnavailable as error:
            # They are routed, and this process does not count them again; the next process suspects them a little sooner.
            self._repeated.write(
                "attempts_kept", log.warning, "event.attempts_kept", source=self._source, cause=error.cause
            )
        else:
            for suspect in suspects:
                self._counted.pop(suspect, None)


def _fingerprints(events: Sequence[Event]) -> list[bytes]:
    """Return the fingerprints of redelivered events, each once: a thousand equal readings are one suspect."""
    return list({_fingerprint(event): None for event in events if event.redelivered})


def _fingerprint(event: Event) -> bytes:
    digest = hashlib.blake2b(event.topic.encode("utf-8", "surrogatepass"), digest_size=12)
    digest.update(b"\0" + event.deduplication_key + b"\0")
    digest.update(event.body)
    return digest.digest()
