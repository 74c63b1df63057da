"""The Source of type `lines`: brings the lines of a file with each connection."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bridge.model.accounting import Missed
from bridge.model.event import Details, Event
from bridge.sources.contract import WindowedSession
from bridge.sources.window import InFlightWindow
from tests.support.fifth_source.settings import Lines


class LinesSource:
    """See `Source`."""

    redelivers = True
    read: Callable[[Any], Details] | None = None
    deliveries: Callable[[Event], int] | None = None

    def __init__(self, name: str, settings: Lines) -> None:
        self.name = name
        self.missed = Missed()
        self._settings = settings

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[LinesSession]:
        """See `Source`."""
        yield LinesSession(self.name, self._settings)


class LinesSession(WindowedSession):
    """Has received every line when it begins."""

    def __init__(self, name: str, settings: Lines) -> None:
        self._window = InFlightWindow(settings.window, redelivered=True)
        now_ms = time.time_ns() // 1_000_000
        lines = Path(urlsplit(settings.url).path).read_text().splitlines()[settings.skip :]
        parts = [line.split(" ", 1) for line in lines]
        self._window.put([
            Event(name, topic, body.encode(), now_ms, number) for number, (topic, body) in enumerate(parts, 1)
        ])  # fmt: skip

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """See `Session`; the file keeps every line."""
        self._window.acknowledged(events)

    async def pause(self) -> None:
        """See `Session`."""
        self._window.close()
