"""Whether the sink takes writes, as each writer sees it; and the one loop that retries until it does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from bridge.backoff import Backoff
from bridge.errors import SinkUnavailable
from bridge.observe.log_fields import without_numbers
from bridge.observe.logs import RepeatedLog, logger

log = logger()
_FIRST_RETRY_S: Final = 0.05
#: Small also for an outage that lasts, so that the bridge continues soon after Redis does: every source waits for it.
_MAX_RETRY_S: Final = 2.0

_T = TypeVar("_T")


class SinkHealth:
    """The outcome of each writer's last write. A change is logged, a lasting outage repeatedly.

    A writer is a source's name, or the name of another task that uses the sink. The writer `""` stands for all: while it
    has failed, the sink is available to nobody.
    """

    def __init__(self) -> None:
        #: How often a write failed, and why the last one did.
        self.retries = 0
        self.cause = ""
        self._failing: set[str] = set()
        self._outage_logged = False
        self._repeated = RepeatedLog()
        self._recovered = asyncio.Event()

    def require_probe(self) -> None:
        """Let the sink be unavailable to all writers until `mark_available("")`: nobody knows whether it takes writes."""
        self._failing.add("")

    async def retry_until_available(
        self, writer: str, attempt: Callable[[], Awaitable[_T]], *, give_up: Callable[[], bool] = lambda: False
    ) -> _T:
        """Await `attempt` again after each SinkUnavailable, with a backoff; mark `writer` each time; return the result.

        Raises:
            SinkUnavailable: the last attempt failed, and `give_up` then returned True; `writer` is marked unavailable.
        """
        backoff: Backoff | None = None  # made only once it is needed: this runs for every batch
        while True:
            try:
                result = await attempt()
            except SinkUnavailable as error:
                backoff = backoff or Backoff(first_s=_FIRST_RETRY_S, max_s=_MAX_RETRY_S)
                wait = backoff.next(denied=error.denied)
                self.mark_unavailable(writer, error.cause, wait)
                if give_up():
                    raise
            else:
                self.mark_available(writer)
                return result
            # Only here: during the wait the error, which keeps the frames of the attempt, is gone.
            await asyncio.sleep(wait)

    def mark_unavailable(self, writer: str, cause: str, retry_in_s: float) -> None:
        """Record that a write of `writer` has failed; its next attempt follows after `retry_in_s` seconds."""
        self._failing.add(writer)
        self.retries += 1
        self.cause = cause
        self._repeated.write(
            without_numbers(cause),
            self._say_unavailable,
            "sink.unavailable",
            is_change=not self._outage_logged,
            cause=cause,
            retry_in=round(retry_in_s, 2),
        )

    def mark_available(self, writer: str) -> None:
        """Record that a write of `writer` has succeeded; the sink has recovered once every writer has succeeded."""
        if writer in self._failing:
            self._failing.remove(writer)
            self._recovered.set()
            if not self._failing and self._outage_logged:
                self._outage_logged = False
                log.info("sink.recovered", repeated=self._repeated.take())

    def _say_unavailable(self, event: str, *, cause: str, retry_in: float, repeated: int) -> None:
        if self._failing:
            self._outage_logged = True
            log.error(event, cause=cause, retry_in=retry_in, repeated=repeated)
        else:
            # The newest of those that were suppressed is over.
            log.info("sink.recovered", cause=cause, repeated=repeated + 1)

    @property
    def failing(self) -> frozenset[str]:
        """The writers whose last write has failed."""
        return frozenset(self._failing)

    @property
    def all_available(self) -> bool:
        """Whether the last write of every writer has succeeded."""
        return not self._failing

    def is_available(self, writer: str) -> bool:
        """Whether the last write of `writer` has succeeded; others may fail for a key or a permission of their own."""
        return writer not in self._failing and "" not in self._failing

    async def wait_until_available(self, writer: str) -> None:
        """Return once `is_available` of `writer`."""
        while not self.is_available(writer):
            self._recovered.clear()
            await self._recovered.wait()
