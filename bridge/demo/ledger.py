"""The demo's ledger: joins each published event with its end, which is an executed actor or a dead letter."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

import redis

from bridge.demo import EXECUTIONS, SOURCES
from bridge.demo.generator import Sent
from bridge.demo.screen import Screen
from bridge.demo.servers import Servers
from bridge.redis_io.keys import dead_letters_key

#: An event that has no end after so many seconds is shown as waiting.
_PATIENCE_S: Final = 3.0


class Ledger:
    """Shows the ends of the events; `executed` and `dead` count them by source, `open` has those without an end."""

    def __init__(self, servers: Servers, screen: Screen) -> None:
        self.executed: Counter[str] = Counter()
        self.dead: Counter[str] = Counter()
        self.open: list[Sent] = []
        self._servers = servers
        self._screen = screen
        self._events = redis.Redis.from_url(servers.events_url)
        self._dramatiq = redis.Redis.from_url(servers.redis_url)
        self._dead_letters = dead_letters_key("dramatiq")
        self._last_letter = "-"
        self._shown_waiting: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._events.close()
        self._dramatiq.close()

    @property
    def ended(self) -> int:
        """The number of executions and dead letters."""
        return self.executed.total() + self.dead.total()

    def show_new(self) -> None:
        """Show and count the executions and dead letters since the last call, and the events that have begun to wait."""
        elements: Any = self._events.lpop(EXECUTIONS, 1000)
        for execution in map(json.loads, elements or ()):
            self._show_execution(execution["actor"], execution["args"])
        is_redis_running = self._servers.is_redis_running
        if is_redis_running:
            self._show_dead_letters()
        for event in self.open:
            is_late = not is_redis_running or time.monotonic() - event.at > _PATIENCE_S
            if is_late and id(event) not in self._shown_waiting:
                self._shown_waiting.add(id(event))
                self._screen.waiting(event, "..." if is_redis_running else "waits for Redis")

    def is_worker_idle(self) -> bool:
        """Whether Dramatiq has no message, neither in a queue nor in the hands of a worker."""
        keys = self._dramatiq.scan_iter("dramatiq:*")
        return not any(key.endswith(b".msgs") or b":__acks__." in key for key in keys)

    def _show_execution(self, actor: str, args: list[Any]) -> None:
        source = SOURCES[actor]
        self.executed[source] += 1
        # Of events that are alike the first one will do.
        self._screen.executed(self._take(lambda event: event.source == source and event.args == args), actor, args)

    def _show_dead_letters(self) -> None:
        letters: Any = self._dramatiq.xrange(self._dead_letters, self._last_letter)
        for entry, fields in letters:
            self._last_letter = f"({entry.decode()}"
            names = (b"source", b"topic", b"body", b"reason", b"error")
            source, topic, body, reason, problem = (fields[name].decode(errors="replace") for name in names)
            self.dead[source] += 1
            event = self._take(partial(_is_event, source, topic, body))
            if event is not None:
                self._screen.dead(event, reason, problem)

    def _take(self, fits: Callable[[Sent], bool]) -> Sent | None:
        event = next(filter(fits, self.open), None)
        if event is not None:
            self.open.remove(event)
            self._shown_waiting.discard(id(event))
        return event


def _is_event(source: str, topic: str, body: str, event: Sent) -> bool:
    return (event.source, event.topic, event.body) == (source, topic, body)
