"""The log lines of one source: its connection, its dead letters, its duplicates, its state. Repeated ones are limited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from bridge.config import SourceConfig
from bridge.delivery.counts_log import counts_fields, log_routes
from bridge.model.batch import Batch, DeadLetter, Trimmed
from bridge.model.column import GatedMessage
from bridge.model.event import Event, OncePerRoute
from bridge.model.repeats import written_letters
from bridge.model.state import SourceState
from bridge.observe.log_fields import without_numbers
from bridge.observe.logs import RepeatedLog, logger

log = logger()
#: A longer deduplication key is cut in the log.
_MAX_KEY: Final = 80
#: By the bound of `dead_letters` that was reached.
_TRIMMED: Final = {
    "max_size": "the oldest dead letters went: all together reached max_size; read them in time, mend the sender, or raise it",
    "max_length": "the oldest dead letters went: there were max_length; read them in time, mend the sender, or raise it",
    "max_age": "dead letters older than max_age went",
    "uncounted": "older dead letters went uncounted: the bridge's user may not run XLEN and MEMORY USAGE",
}


class SourceLog:
    """Logs for one source; no secret is ever in a line.

    `name` is that of its connection, `source` that of the source in the configuration: an orphaned session has a name
    of its own.
    """

    def __init__(self, name: str, source: str, config: SourceConfig, guarantee: str | None) -> None:
        self._name = name
        self._guarantee = self._held_guarantee = guarantee
        self._source = source
        self._type = config.type
        self._url = config.redacted_url
        self._repeated = RepeatedLog()
        self._losses = RepeatedLog()
        self._routes = 0
        # Whether it is connected, and whether the last line of its connection says so.
        self._is_connected = self._said_connected = False

    @property
    def guarantee(self) -> str:
        """The promise in words that the present connection keeps, or the last one has kept; "" where nobody knows it."""
        return self._held_guarantee or ""

    def connected(self, routes: int, guarantee: str | None) -> None:
        """Log that the source is connected, unless the last line says so: the loss between was one of many.

        `guarantee` is that of `Session`.
        """
        self._is_connected, self._routes = True, routes
        self._held_guarantee = guarantee or self._guarantee
        if not self._said_connected:
            self._say_connected(repeated=self._losses.take())

    def _say_connected(self, **fields: Any) -> None:
        self._said_connected = True
        log.info(
            "source.connected",
            source=self._name,
            type=self._type,
            url=self._url,
            routes=self._routes,
            guarantee=self._held_guarantee,
            **fields,
        )

    def disconnected(self, cause: str, retry_in_s: float, *, was_connected: bool) -> None:
        """Log that a connection has ended, or could not be made."""
        event = "source.disconnected" if was_connected else "source.unavailable"
        self._is_connected = False
        self._losses.write(
            (event, without_numbers(cause)),
            self._say_lost,
            event,
            is_change=self._said_connected,
            cause=cause,
            retry_in=round(retry_in_s, 2),
        )

    def closed(self) -> None:
        """Take note that the connection was closed on purpose: the next one is said."""
        self._is_connected = self._said_connected = False

    def _say_lost(self, event: str, *, cause: str, retry_in: float, repeated: int) -> None:
        if self._is_connected:
            # The newest of those that were suppressed is over.
            self._say_connected(cause=cause, repeated=repeated + 1)
        else:
            self._said_connected = False
            log.error(event, source=self._name, url=self._url, cause=cause, retry_in=retry_in, repeated=repeated)

    def written(self, batch: Batch) -> None:
        """Log each kind of dead letter and of duplicate among the written parts of `batch`."""
        for part in batch.unsplit_parts():
            if part.written is not None:
                if letters := written_letters(part):
                    self._dead_letters([letter for _, letter in letters])
                suppressed = part.written.suppressed
                of_keys = {one.event_index for one in suppressed}
                if duplicates := [index for index in part.written.duplicate_indexes if index not in of_keys]:
                    self._duplicates(part.events[duplicates[-1]], len(duplicates))
                if part.written.left_out:
                    self._left_out(part, part.written.left_out)
                if suppressed:
                    self._suppressed(part, suppressed)
                if any(part.written.trimmed):
                    self._trimmed(part.written.trimmed)

    def _dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        # Of each kind the newest, once a batch: a source may bring a hundred thousand of them in a second.
        newest = {(letter.route, letter.reason): letter for letter in letters}
        counts = Counter([(letter.route, letter.reason) for letter in letters]) if len(newest) > 1 else None
        for kind, letter in newest.items():
            self._repeated.write(
                ("dead letter", *kind),
                log.warning,
                "event.dead_lettered",
                count=counts[kind] if counts else len(letters),
                source=self._source,
                route=letter.route or None,
                reason=letter.reason,
                cause=letter.detail,
                topic=letter.event.topic,
            )

    def _trimmed(self, trimmed: Trimmed) -> None:
        for bound, count in trimmed._asdict().items():
            if count:
                self._repeated.write(
                    ("trimmed", bound),
                    log.info if bound == "max_age" else log.warning,
                    "dead_letters.trimmed",
                    source=self._source,
                    bound=bound,
                    cause=_TRIMMED[bound],
                    count=count,
                )

    def _duplicates(self, first: Event, count: int) -> None:
        by_key = isinstance(first.write_once, OncePerRoute)
        self._repeated.write(
            ("duplicate", by_key),
            log.info,
            "event.duplicate",
            source=self._source,
            cause="its deduplication key was written before" if by_key else "it was written before",
            key=_key_of(first) or None,
            topic=first.topic,
            count=count,
        )

    def _left_out(self, part: Batch, routes: Sequence[tuple[int, str]]) -> None:
        counts = Counter([route for _, route in routes])
        for route, index in {route: index for index, route in routes}.items():
            event = part.events[index]
            cause = "the route had written this event before: its deduplication key says so"
            self._duplicate_messages("left out", route, event, count=counts[route], key=_key_of(event), cause=cause)

    def _suppressed(self, part: Batch, messages: Sequence[GatedMessage]) -> None:
        newest = {one.gate.rule.route: one for one in messages}
        counts = Counter([one.gate.rule.route for one in messages])
        for route, one in newest.items():
            key = _shown(one.gate.key) if one.gate.rule.is_shown else "***"
            cause = "a message of the route with this key was written before"
            newest_event = part.events[one.event_index]
            self._duplicate_messages("suppressed", route, newest_event, count=counts[route], key=key, cause=cause)

    def _duplicate_messages(self, kind: str, route: str, newest: Event, *, count: int, key: str, cause: str) -> None:
        self._repeated.write(
            (kind, route),
            log.info,
            "message.duplicate",
            source=self._source,
            route=route,
            cause=cause,
            key=key,
            topic=newest.topic,
            count=count,
        )

    def flush(self) -> None:
        """Write the lines that were suppressed until now."""
        self._losses.flush()
        self._repeated.flush()

    def spool_corrupt(self, lost: int) -> None:
        """Log that spooled events can't be read."""
        log.error("spool.corrupt", source=self._source, lost=lost)

    def state(self, state: SourceState) -> None:
        """Log how the source stands, and each of its routes."""
        log.info(
            "source.state",
            source=self._name,
            connected=state.connected,
            paused=state.paused or None,
            held=state.held,
            in_flight=state.in_flight,
            spooled=state.spooled,
            **counts_fields(state.counts),
        )
        log_routes("route.state", self._name, state.counts)


def _key_of(event: Event) -> str:
    condition = event.write_once
    is_shown = not isinstance(condition, OncePerRoute) or condition.is_shown
    return _shown(event.deduplication_key) if is_shown else "***"


def _shown(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")[:_MAX_KEY]
