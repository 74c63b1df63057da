"""Looks into every bridge of an experiment again and again, as a Prometheus and an orchestrator would."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Final

from tests.support.unix_http import UnixConnection

_INTERVAL_S: Final = 0.5
_TIMEOUT_S: Final = 5.0
_ERROR: Final = re.compile(r'^dramatiq_bridge_accounting_error\{source="(.*)"\} (.*)$', re.MULTILINE)


class Scraper:
    """Scrapes the admin servers at `sockets` until `stop`.

    `failures` are sentences about numbers that do not add up, and about a bridge that is not ready and says no cause.
    """

    def __init__(self, sockets: list[Path]) -> None:
        self.failures: list[str] = []
        self.scrapes = 0
        #: How often each cause was given for a bridge that is not ready.
        self.unready: Counter[str] = Counter()
        self._sockets = sockets
        self._ready: dict[Path, bool] = {}
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(path,), daemon=True) for path in sockets]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Scrape no more."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(30)

    def wait_scraped(self, within_s: float) -> None:
        """Return once a bridge has answered, or after so many seconds: none may have lived long enough for it."""
        end = time.monotonic() + within_s
        while not self.scrapes and time.monotonic() < end:
            time.sleep(0.05)

    def wait_ready(self, within_s: float) -> bool:
        """Return whether every bridge says that it is ready, within so many seconds."""
        end = time.monotonic() + within_s
        while not all(self._ready.values()):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def _run(self, path: Path) -> None:
        while not self._stopped.wait(_INTERVAL_S):
            # It may be starting, dead, or stopped.
            with suppress(OSError, HTTPException):
                self._scrape(path)
                continue
            if path.exists():
                self._ready[path] = False
            else:
                self._ready.pop(path, None)  # it was told to stop, and has ended

    def _scrape(self, path: Path) -> None:
        status, text = _get(path, "/metrics")
        if status != 200:
            self.failures.append(f"/metrics answers {status}: {text[:200]}")
            return
        found = _ERROR.findall(text)
        self.scrapes += 1
        if not found:
            self.failures.append("/metrics has no accounting_error")
        self.failures += [
            f"{source}: the events that came differ by {error}" for source, error in found if float(error)
        ]
        status, text = _get(path, "/readyz")
        self._ready[path] = status == 200
        if status not in {200, 503} or (status == 503 and not text.strip()):
            self.failures.append(f"/readyz answers {status}: {text[:200]!r}")
        if status == 503:
            self.unready.update(line for line in text.strip().splitlines() if line != "not ready")


def _get(path: Path, url: str) -> tuple[int, str]:
    connection = UnixConnection(path, _TIMEOUT_S)
    try:
        connection.request("GET", url)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
