"""Takes messages out of Dramatiq's queues and counts them, as workers would: for loads that Redis should not hold."""

from __future__ import annotations

import threading
from contextlib import suppress

import redis

from tests.faults.checker import Arrived, compare
from tests.faults.stage import Stage


class Collector:
    """Counts every message of every source by its number, and removes it; `arrived` is what `checker.look` returns."""

    def __init__(self, stage: Stage) -> None:
        self.arrived = {source: Arrived() for source in stage.sources}
        self._newest = dict.fromkeys(stage.sources, -1)
        # Counted, and perhaps not removed: where the reply was lost, they may be there again.
        self._counted: dict[str, set[bytes]] = {source: set() for source in stage.sources}
        self._stage = stage
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Collect what is left, and end."""
        self._stop.set()
        self._thread.join(30)
        with self._stage.client() as client:
            for source in self.arrived:
                self._collect(client, source)

    def newest(self, source: str) -> int:
        """Return the largest number of a source that has arrived, -1 before the first."""
        return self._newest[source]

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            for source in self.arrived:
                # Redis may be in any state; what cannot be taken now can be later.
                with suppress(redis.RedisError), self._stage.client() as client:
                    self._collect(client, source)

    def _collect(self, client: redis.Redis, source: str) -> None:
        key = f"dramatiq:{source}"
        with client.pipeline(transaction=True) as both:
            both.lrange(key, 0, -1)
            both.hgetall(f"{key}.msgs")
            ids, messages = both.execute()
        if not ids and not messages:
            return
        fresh = [one for one in ids if one not in self._counted[source]]
        found = compare(key, fresh, {one: body for one, body in messages.items() if one not in self._counted[source]})
        its = self.arrived[source]
        its.queued += found.queued
        its.orphans += found.orphans
        self._newest[source] = max(self._newest[source], *found.queued, -1)
        self._counted[source] = set(ids)
        with client.pipeline(transaction=True) as both:
            # The bridge appends at the other end only.
            both.ltrim(key, len(ids), -1)
            both.hdel(f"{key}.msgs", *(messages or ids))
            both.execute()
