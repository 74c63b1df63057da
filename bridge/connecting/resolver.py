"""Looks names up in daemon threads: a resolver that does not answer holds up neither other names nor the exit.

asyncio looks up in its executor, of few threads, for which `asyncio.run` waits at the end; uvloop in libuv's four.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

#: A family and an address of it, as `socket.connect` takes it.
Address = tuple[int, Any]

#: An answer that came too late is kept for so long: the next attempt begins within a minute (`Backoff`), and a name may move.
KEPT_S: Final = 90.0
#: Each waits for one name at a time, and takes some 25 KB.
MAX_THREADS: Final = 512


@dataclass(eq=False)
class _Lookup:
    """The look-up of one name: its addresses, or why there are none."""

    name: str
    answer: Future[tuple[list[Address], str]] = field(default_factory=Future)
    waiting: int = 0
    answered_at: float = 0.0

    def set_answer(self, addresses: list[Address], failure: str = "") -> None:
        """Answer all that wait."""
        self.answered_at = time.monotonic()
        self.answer.set_result((addresses, failure))

    @property
    def is_stale(self) -> bool:
        """Whether it says nothing to a new attempt: it is over for all that waited, and has failed or is old."""
        if self.waiting or not self.answer.done():
            return False
        _, failure = self.answer.result()
        return bool(failure) or time.monotonic() - self.answered_at > KEPT_S


class Resolver:
    """Looks up each name once at a time, however many wait for it, in at most `max_threads` threads."""

    def __init__(self, max_threads: int = MAX_THREADS) -> None:
        self._max_threads = max_threads
        self._lookups: dict[str, _Lookup] = {}
        self._lock = threading.Lock()
        self._queued: deque[_Lookup] = deque()
        self._threads = 0

    async def resolve(self, host: str, port: int) -> list[Address]:
        """Return the addresses of a name, or of an IP address; the caller bounds the time.

        Raises:
            OSError: there are none.
        """
        addresses = _numeric(host) or await self._look_up(host)
        return [(family, (address[0], port, *address[2:])) for family, address in addresses]

    async def _look_up(self, name: str) -> list[Address]:
        lookup = self._lookups.get(name)
        if lookup is None or lookup.is_stale:
            lookup = self._lookups[name] = _Lookup(name)
            lookup.answer.set_running_or_notify_cancel()  # from now on one that stops waiting cancels it for nobody else
            self._begin(lookup)
        lookup.waiting += 1
        try:
            addresses, failure = await asyncio.wrap_future(lookup.answer)
        finally:
            lookup.waiting -= 1
            # An answer that came too late for everybody stays for the next attempt: a resolver may need longer than one
            # lasts, and no attempt would ever succeed.
            if lookup.answer.done() and not lookup.waiting:
                self._lookups.pop(name, None)
        if failure:
            raise OSError(failure)
        return addresses

    def _begin(self, lookup: _Lookup) -> None:
        with self._lock:
            if self._threads >= self._max_threads:
                self._queued.append(lookup)
                return
            self._threads += 1
        try:
            threading.Thread(target=self._run, args=(lookup,), name="resolver", daemon=True).start()
        except RuntimeError as error:  # no thread can be started
            with self._lock:
                self._threads -= 1
            lookup.set_answer([], f"the name {lookup.name!r} was not resolved: {error}")

    def _run(self, lookup: _Lookup) -> None:
        while True:
            lookup.set_answer(*_answer(lookup.name))
            with self._lock:
                if not self._queued:
                    self._threads -= 1
                    return
                lookup = self._queued.popleft()


def _numeric(host: str) -> list[Address]:
    """Return the address that `host` is; nothing if it is a name."""
    try:
        return _addresses(host, socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return []


def _answer(name: str) -> tuple[list[Address], str]:
    try:
        return _addresses(name), ""
    except (OSError, UnicodeError) as error:  # Python can't encode some names
        cause = getattr(error, "strerror", None) or error
    except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
        cause = error
    return [], f"the name {name!r} was not resolved: {cause}"


def _addresses(host: str, flags: int = 0) -> list[Address]:
    found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]
