"""The load: a publisher per source, and the ledger of what its broker has confirmed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from tests.faults.publishers import Publisher

#: How often a steady load publishes: as many events as make up the rate.
_TICK_S: Final = 0.05
_RECONNECT_S: Final = 0.1
_PADDING: Final = "x" * 120


@dataclass(slots=True)
class Ledger:
    """Every event of a source has a number of its own, from 0; numbers only grow.

    An event that was sent and not confirmed, because its broker was away, may or may not have arrived: it is no loss.
    """

    sent: int = 0
    confirmed: list[int] = field(default_factory=list)


class Load:
    """Publishes `rate` events per second (0: none but `burst`s), from `start` to `stop`, whatever happens to the broker."""

    def __init__(self, name: str, publisher: Publisher, rate: int, text: str | None = None) -> None:
        self.ledger = Ledger()
        self._text = _PADDING if text is None else text
        self.rate = rate
        self._publisher = publisher
        self._connected = False
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"load-{name}", daemon=True)

    def start(self) -> None:
        """Begin; nothing but the thread itself is waited for."""
        self._thread.start()

    def stop(self) -> None:
        """Publish nothing more; what was sent is confirmed or given up when this returns."""
        self._stop.set()
        self._thread.join(30)
        # A burst may be at it.
        with self._lock:
            self._publisher.close()

    def spread(self, topics: Sequence[str]) -> None:
        """Publish one event to each of `topics`; AssertionError where the broker does not take them."""
        for start in range(0, len(topics), self._publisher.at_once):
            some = topics[start : start + self._publisher.at_once]
            with self._lock:
                assert self._publish(len(some), some), "the broker took no more topics"

    def send(self, bodies: Sequence[bytes]) -> None:
        """Publish bodies that are no events of the ledger's; AssertionError where the broker does not take them all."""
        taken: list[int] = []
        with self._lock:
            self._publisher.send(bodies, taken.append)
        assert len(taken) == len(bodies), "not every body was taken"

    def send_while_connected(self, bodies: Sequence[bytes]) -> None:
        """Publish bodies that are no events of the ledger's; whether the broker takes them does not matter."""
        with self._lock:
            if self._connected:
                with suppress(Exception):  # four libraries' ways to say that a broker is away; the next event finds out
                    self._publisher.send(bodies, lambda _: None)

    def burst(self, count: int) -> None:
        """Publish `count` events as fast as they are confirmed; ends early where the broker is away for long."""
        left, deadline = count, time.monotonic() + 60
        while left > 0 and time.monotonic() < deadline and not self._stop.is_set():
            with self._lock:
                done = self._publish(min(left, self._publisher.at_once))
            if done:
                left -= self._publisher.at_once
            else:
                self._stop.wait(_RECONNECT_S)

    def _run(self) -> None:
        due = 0.0
        last = time.monotonic()
        while not self._stop.wait(_TICK_S):
            now = time.monotonic()
            # After an outage the load goes on as it was: what could not be published meanwhile is not made up for.
            due = min(due + (now - last) * self.rate, 4 * _TICK_S * self.rate)
            last = now
            while due >= 1 and not self._stop.is_set():
                count = min(int(due), self._publisher.at_once)
                due -= count
                with self._lock:
                    if not self._publish(count):
                        break

    def _publish(self, count: int, topics: Sequence[str] = ()) -> bool:
        first = self.ledger.sent
        try:
            if not self._connected:
                self._publisher.connect()
                self._connected = True
            self.ledger.sent += count
            bodies = [body(number, self._text) for number in range(first, first + count)]
            self._publisher.send(bodies, lambda index: self.ledger.confirmed.append(first + index), topics)
        except Exception:  # noqa: BLE001 - four libraries' ways to say that a broker is away; the ledger tells the rest
            self._connected = False
            self._publisher.close()
            self._stop.wait(_RECONNECT_S)
            return False
        return True


def body(number: int, text: str = _PADDING) -> bytes:
    """Return the body of the event with this number, some 30 bytes longer than `text`."""
    return json.dumps({"n": number, "text": text}).encode()
