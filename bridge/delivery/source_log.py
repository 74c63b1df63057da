"""The log lines of one source: its connection, its dead letters, its state. Repeated ones are limited."""

from __future__ import annotations

from dataclasses import asdict

from bridge.config import SourceConfig, redacted_url
from bridge.model.accounting import Counts
from bridge.model.batch import Batch
from bridge.observe.logs import LogThrottle, logger
from bridge.sources.contract import Session
from bridge.spool import Spool

log = logger()


class SourceLog:
    """Logs for one source; no secret is ever in a line.

    `name` is that of its connection, `source` that of the source in the configuration: an orphaned session has a name
    of its own.
    """

    def __init__(self, name: str, source: str, config: SourceConfig) -> None:
        self._name = name
        self._source = source
        self._type = config.type
        self._url = redacted_url(config.url)
        self._connection_throttle = LogThrottle()
        self._dead_letter_throttle = LogThrottle()

    def connected(self, routes: int) -> None:
        """Log that the source is connected; its next disconnection is logged at once."""
        self._connection_throttle = LogThrottle()
        log.info("source.connected", source=self._name, type=self._type, url=self._url, routes=routes)

    def disconnected(self, cause: str, retry_in_s: float, *, was_connected: bool) -> None:
        """Log that a connection has ended, or could not be made."""
        event = "source.disconnected" if was_connected else "source.unavailable"
        suppressed = self._connection_throttle.allow(event, cause)
        if suppressed is not None:
            retry_in = round(retry_in_s, 2)
            log.error(event, source=self._name, url=self._url, cause=cause, retry_in=retry_in, repeated=suppressed)

    def dead_letters(self, batch: Batch) -> None:
        """Log each kind of dead letter among the written parts of `batch`."""
        for part in batch.unsplit_parts():
            for _, letter in part.dead_letters if part.written is not None else ():
                suppressed = self._dead_letter_throttle.allow(letter.route, letter.reason)
                if suppressed is not None:
                    log.warning(
                        "event.dead_lettered",
                        source=self._source,
                        route=letter.route or None,
                        reason=letter.reason,
                        cause=letter.detail,
                        topic=letter.event.topic,
                        repeated=suppressed,
                    )

    def spool_corrupt(self, lost: int) -> None:
        """Log that spooled events can't be read."""
        log.error("spool.corrupt", source=self._source, lost=lost)

    def state(self, session: Session | None, spool: Spool | None, counts: Counts) -> None:
        """Log how the source stands."""
        log.info(
            "source.state",
            source=self._name,
            connected=session is not None,
            held=session.held if session is not None else 0,
            spooled=spool.events if spool is not None else None,
            **asdict(counts),
        )
