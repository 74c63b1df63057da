"""The demo's two acts: an event that becomes a dead letter, and a Redis that is killed while events go on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Final

from bridge.demo.generator import Generator
from bridge.demo.ledger import Ledger
from bridge.demo.screen import Screen
from bridge.demo.servers import Servers

#: The first event that no route can take comes after so many seconds.
_MALFORMED_AT_S: Final = 2.0
_OUTAGE_AT_S: Final = 10.0
_OUTAGE_S: Final = 2.0
#: So long Redis is not killed because actors still run; then it is left out.
_QUIET_TIMEOUT_S: Final = 20.0
#: A shorter run leaves out the outage; one of this length has it after a third.
_LEAST_S: Final = 12.0


class Acts:
    """The acts in turn; `step` goes on with them, `left_out` has those that did not begin before `is_over()`."""

    def __init__(
        self,
        servers: Servers,
        ledger: Ledger,
        generator: Generator,
        screen: Screen,
        *,
        seconds: float | None,
        is_over: Callable[[], bool],
    ) -> None:
        self.left_out = ["the dead letter", "the killed Redis"]
        self.are_over = False
        self._servers = servers
        self._ledger = ledger
        self._generator = generator
        self._screen = screen
        self._is_over = is_over
        now = time.monotonic()
        self._malformed_at = now + _MALFORMED_AT_S
        length = math.inf if seconds is None else seconds
        self._outage_at = now + min(_OUTAGE_AT_S, length / 3) if length >= _LEAST_S else math.inf
        self._script = self._play()

    def step(self) -> bool:
        """Go on as far as it is time; return whether events may be published now."""
        may_publish = next(self._script, None)
        self.are_over = may_publish is None
        return may_publish is not False

    def _play(self) -> Iterator[bool]:
        """Yield whether events may be published, until both acts are over."""
        while time.monotonic() < self._malformed_at:
            if self._is_over():
                return
            yield True
        self.left_out.remove("the dead letter")
        event = self._generator.publish_malformed()
        self._ledger.open.append(event)
        self._screen.note("published on purpose: an event that no route can take")
        while event in self._ledger.open:
            yield True
        self._screen.note("`dramatiq-bridge dead` shows and retries such events; all others go on")
        while time.monotonic() < self._outage_at:
            if self._is_over():
                return
            yield True
        # Dramatiq runs a message twice, or only once its worker has ended, if Redis is killed between its steps.
        deadline = time.monotonic() + _QUIET_TIMEOUT_S
        while self._ledger.open or not self._ledger.is_worker_idle():
            if self._is_over() or time.monotonic() > deadline:
                return
            yield False
        self.left_out.remove("the killed Redis")
        yield from self._outage()

    def _outage(self) -> Iterator[bool]:
        self._screen.note("killing Redis, which holds Dramatiq's tasks, with SIGKILL; events go on ...", "bold red")
        self._servers.kill_redis()
        back_at = time.monotonic() + _OUTAGE_S
        while (time.monotonic() < back_at or not self._ledger.open) and not self._is_over():
            yield True
        self._servers.restart_redis()
        waiting = list(self._ledger.open)
        number, are, have = ("1 event", "is", "has") if len(waiting) == 1 else (f"{len(waiting)} events", "are", "have")
        self._screen.note(f"Redis is back; {number} that came meanwhile {are} written now")
        while not set(waiting).isdisjoint(self._ledger.open):
            yield True
        self._screen.note(f"nothing is lost: {number} that came while Redis was dead {have} run")
