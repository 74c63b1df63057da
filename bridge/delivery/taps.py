"""The taps of one process: which events each of them wants, and a bound on the time that all of them take.

A tap costs nothing where nobody taps. Else the events of a batch are compared with the filters first, and lines are made only
for those that fit, while there is room and time: some milliseconds of CPU a batch, and three hundredths of the processor in all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final

from bridge.config import Config
from bridge.delivery.observers import Observers
from bridge.delivery.tapped import TapLines
from bridge.delivery.tapped_part import Part
from bridge.delivery.tapped_tests import TestMaker
from bridge.model.accounting import Outcome
from bridge.model.batch import Batch
from bridge.model.event import Event
from bridge.model.taps import MAX_TAPS, Dropped, Tap, TapFilter, TooManyTaps, UnknownTapName
from bridge.observe.logs import RepeatedLog, logger
from bridge.routing.routes import RouteTable
from bridge.topics.glob import Glob
from bridge.topics.memory import TopicMemory

log = logger()
#: CPU time for the comparisons, and then for the lines, of one batch.
_FILTER_S: Final = 0.002
_LINES_S: Final = 0.015
#: CPU time in all: so much of each second, of which so much is kept for later.
_SHARE: Final = 0.03
_KEPT_S: Final = 0.1
#: The clock is asked after so many topics that are new.
_CLOCK_TOPICS: Final = 16


def check_names(wanted: TapFilter, config: Config) -> None:
    """Check that a configuration has the source and the route of a filter.

    Raises:
        UnknownTapName: it has not.
    """
    if wanted.source and wanted.source not in config.sources:
        raise UnknownTapName("source", wanted.source, list(config.sources))
    routes = [str(route.name) for route in config.routes if wanted.source in ("", route.source)]
    if wanted.route and wanted.route not in routes:
        raise UnknownTapName(f"route of source {wanted.source}" if wanted.source else "route", wanted.route, routes)


class _Fit:
    """Finds the events of a filter."""

    def __init__(self, wanted: TapFilter) -> None:
        self._source, self._route = wanted.source, wanted.route
        self._glob = Glob(wanted.topic) if wanted.topic else None
        #: Of the events of one source: whether those of a topic fit.
        self._known: dict[str, TopicMemory[str, bool]] = {}

    def forget(self) -> None:
        """Forget what is known: the routes have changed."""
        self._known.clear()

    def of(self, events: Sequence[Event], table: RouteTable | None, end: float) -> tuple[Sequence[int], int]:
        """Return the positions of the events that fit, and how many events were not examined until `end`, in CPU time."""
        source = events[0].source
        if self._source and source != self._source:
            return (), 0
        if self._glob is None and not self._route:
            return range(len(events)), 0
        known = self._known.setdefault(source, TopicMemory())
        found: list[int] = []
        topic, fits, news = None, False, 0
        for index, event in enumerate(events):
            if event.topic is not topic:
                topic = event.topic
                remembered = known.get(topic)
                if remembered is None:
                    news += 1
                    if news % _CLOCK_TOPICS == 0 and time.thread_time() > end:
                        return found, len(events) - index
                    remembered = self._fits(topic, table)
                    known.remember(topic, remembered)
                fits = remembered
            if fits:
                found.append(index)
        return found, 0

    def _fits(self, topic: str, table: RouteTable | None) -> bool:
        if self._glob is not None and not self._glob.fits(topic):
            return False
        if not self._route:
            return True
        return table is not None and any(route.name == self._route for route, _ in table.matches(topic))


class Taps:
    """The taps of one process, which `observers` call only while there are any."""

    def __init__(self, observers: Observers) -> None:
        self._observers = observers
        self._open: dict[Tap, _Fit] = {}
        self._config: Config | None = None
        self._tables: Mapping[str, RouteTable] = {}
        self._lines: TapLines | None = None
        self._compiling: asyncio.Task[None] | None = None
        self._credit_s, self._credited_at = _KEPT_S, time.monotonic()
        self._tests = TestMaker()
        self._repeated = RepeatedLog()

    def use(self, config: Config, tables: Mapping[str, RouteTable]) -> None:
        """Tap the events of this configuration from now on; a tap ends whose source or route it has not any more."""
        self._config, self._tables = config, tables
        for tap, fit in list(self._open.items()):
            fit.forget()
            if tap.ends_with_its_names:
                end_unless_known(tap, config)
            if tap.end is not None:
                self.close(tap)
        if self._open:
            self._compile_soon()  # until then events are explained by the routes before

    async def open(self, wanted: TapFilter, tap: Tap | None = None) -> Tap:
        """Begin to tap; return once the next event would be seen. The names are checked already.

        Raises:
            TooManyTaps: there is no place for another one.
            InvalidValue: the glob is too long.
        """
        if len(self._open) >= MAX_TAPS:
            raise TooManyTaps
        fit = _Fit(wanted)
        tap = tap or Tap(wanted)
        self._open[tap] = fit
        try:
            while self._lines is None:
                self._compile_soon()
                assert self._compiling is not None  # noqa: S101 - it was started
                await asyncio.wait([self._compiling])
                self._compiling.result()
        except BaseException:
            self.close(tap)
            raise
        self._observers.add(self)
        return tap

    def close(self, tap: Tap) -> None:
        """End a tap whose reader has gone."""
        self._open.pop(tap, None)
        self._tests.forget(tap)
        if not self._open:
            self._observers.remove(self)
            self._lines = None

    def finish(self, code: str, cause: str) -> None:
        """End all of them, for a cause that their readers get."""
        for tap in list(self._open):
            tap.finish(code, cause)
            self.close(tap)

    def written(self, batch: Batch, outcome: Outcome, *, redelivers: bool) -> None:
        """See `Observer`; a fault ends the taps, and not the bridge."""
        now, begin = time.monotonic(), time.thread_time()
        self._credit_s = min(_KEPT_S, self._credit_s + (now - self._credited_at) * _SHARE)
        self._credited_at = now
        try:
            self._show(batch, outcome, begin, redelivers=redelivers)
        except Exception as error:  # noqa: BLE001 - see above
            self._repeated.write(type(error).__name__, log.exception, "tap.failed")
            self.finish("failed", "a fault of the bridge: its log says more")
        self._credit_s -= time.thread_time() - begin

    def _show(self, batch: Batch, outcome: Outcome, begin: float, *, redelivers: bool) -> None:
        end = begin + min(_LINES_S, self._credit_s)
        taps = list(self._open.items())
        for events in batch.unsplit_parts():
            if not events.events:
                continue
            table = self._tables.get(events.events[0].source)
            part = Part(events, outcome, redelivers, table)
            for place, (tap, fit) in enumerate(taps):
                fitting, unexamined = fit.of(events.events, table, begin + _FILTER_S)
                now = time.thread_time()
                self._put(tap, part, fitting, now + (end - now) / (len(taps) - place))
                tap.drop(Dropped(0, unexamined))

    def _put(self, tap: Tap, part: Part, fitting: Sequence[int], end: float) -> None:
        lines = self._lines
        for place, index in enumerate(fitting):
            # One is shown in any case, unless the taps have taken too much time before.
            is_late = time.thread_time() >= end and (place > 0 or self._credit_s <= 0)
            if lines is None or is_late or not tap.has_room:
                tap.drop(Dropped(len(fitting) - place))
                return
            if not tap.wanted.as_test:
                tap.put(lines.line(part, index, tap.wanted))
            elif not self._tests.add(tap, lines, part, index):
                tap.drop(Dropped(len(fitting) - place))
                return

    def _compile_soon(self) -> None:
        if self._compiling is None or self._compiling.done():
            self._compiling = asyncio.create_task(self._compile(), name="bridge:tap")

    async def _compile(self) -> None:
        config = None
        while config is not self._config and self._config is not None:
            config = self._config
            # In a thread: thousands of routes take a second.
            lines = await asyncio.to_thread(TapLines, config)
            if self._open:
                self._lines = lines


def end_unless_known(tap: Tap, config: Config) -> None:
    """End a tap whose source or route the configuration has not any more."""
    try:
        check_names(tap.wanted, config)
    except UnknownTapName as error:
        tap.finish("reload", f"a reload has removed the {error.kind} {error.name!r}")
