"""Limits of a queue of RabbitMQ; each is said once.

AMQP shows nobody the arguments and policies of a queue: beyond `declare:`, only the headers of a delivery tell them.

- A quorum queue: RabbitMQ 4 drops an event that it has delivered 20 times, without a trace, unless the queue has a
  dead-letter exchange, or `x-delivery-limit: -1`. Events that are delivered again have `x-delivery-count`.
- A stream of which the file does not say so: each connection begins at its next entry. Every event has `x-stream-offset`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from bridge.config import Amqp
from bridge.config.amqp import delivery_limit
from bridge.errors import BadEvent
from bridge.model.event import Event
from bridge.model.server_versions import is_older, outdated
from bridge.observe.logs import logger
from bridge.sources.amqp.library import capabilities, shown
from bridge.sources.amqp.offsets import offset_of

log = logger()
#: The promise for a stream of which the file does not say so.
STREAM_GUARANTEE: Final = (
    "at most once in each process: each connection begins at the stream's next entry, and what it held comes not again"
)
_STREAM_REMEDY: Final = "set `stream: true` in the source: then each event is written exactly once"
_STREAM_REMEDY_DEDUPLICATE: Final = (
    "set `stream: true` in the source instead of `deduplicate`: then each event is written exactly once"
)
_REMEDY: Final = "set x-delivery-limit: -1 or a dead-letter exchange for the queue"
_FILTERS_SINCE: Final = (3, 13)
_UNFILTERED: Final = "RabbitMQ {} knows no filters of streams, as 3.13 does: every event comes, and the routes decide"
_UNCHECKED: Final = (
    "the broker allows no second channel (channel_max, or the user's max-channels):"
    " a consumer that it forgets without a word is not noticed"
)
_STREAM_UNCHECKED: Final = (
    "the broker allows one channel: not noticed are a consumer that it forgets, what retention deletes unread, and with"
    " `start: new` what comes before the first write while the bridge is away"
)
_CANCEL_UNANNOUNCED: Final = (
    "the broker does not announce `consumer_cancel_notify`: the end of the consumer, as of a queue that is deleted,"
    " is noticed only after half a minute to a minute"
)


class PromiseLog:
    """Says each limit of one source's queue once, and reads the broker's count of deliveries."""

    def __init__(self, source: str, config: Amqp) -> None:
        self._source = source
        self._queue = config.queue
        self._arguments = config.declare.arguments if config.declare else {}
        self._limit = delivery_limit(self._arguments)
        self._remedy = stream_remedy(config)
        self._config = config
        #: The promise that the queue keeps, where it is less than the source's; else None.
        self.guarantee: str | None = None
        self._said: set[str] = set()

    def log_declared(self) -> None:
        """Log the limits of a queue that the bridge itself declares."""
        if self._arguments.get("x-queue-type") == "quorum":
            self._log_limit("a quorum queue of which RabbitMQ 4 drops an event that it has delivered {} times")

    def fast_path_unavailable(self, cause: str) -> None:
        """Log that the library reads, though `fast_path` is set."""
        self._say("source.fast_path_unavailable", cause=cause)

    def look_at_server(self, properties: Mapping[str, object], *, checked: bool) -> None:
        """Log that the broker is older than supported or than filters, and how its consumer is checked, if at all.

        Of the extensions of AMQP 0-9-1 the bridge uses `consumer_cancel_notify` alone; none of its guarantees rests on it.
        """
        for event, cause in server_limits(self._config, properties, checked=checked):
            self._say(event, cause=cause)

    def look_at_first(self, event: Event, *, is_kept: bool) -> None:
        """Log the limits that the first delivery of a connection shows; `is_kept`: the offset of a stream is kept."""
        self.guarantee = None
        if not is_kept and offset_of(event) is not None:
            self.say_stream()

    def say_stream(self) -> None:
        """Log that the queue is a stream, and what is promised while the file does not say so."""
        self.guarantee = STREAM_GUARANTEE
        self._say("source.stream_queue", guarantee=STREAM_GUARANTEE, remedy=self._remedy)

    def count(self, event: Event) -> int:
        """Return the event's `x-delivery-count`, 0 without one."""
        count = _headers(event).get("x-delivery-count")
        if not isinstance(count, int):
            return 0
        self._log_limit(
            "a quorum queue: unless a policy says otherwise, RabbitMQ 4 drops an event that it has delivered {} times"
        )
        return count

    def _log_limit(self, cause: str) -> None:
        if self._limit is not None:
            self._say("source.delivery_limit", cause=cause.format(self._limit), remedy=_REMEDY)

    def _say(self, event: str, **fields: str) -> None:
        if event not in self._said:
            self._said.add(event)
            log.warning(event, source=self._source, queue=self._queue, **fields)


def server_limits(config: Amqp, properties: Mapping[str, object], *, checked: bool) -> Iterator[tuple[str, str]]:
    """Yield each limit of a broker with these properties, as the event of the log and its cause; see `look_at_server`."""
    product, version = shown(properties.get("product")), shown(properties.get("version"))
    if cause := outdated(product, version):
        yield "source.old_server", cause
    if config.filter and product == "RabbitMQ" and is_older(version, _FILTERS_SINCE):
        yield "source.filter_ignored", _UNFILTERED.format(version)
    if not checked:
        yield "source.consumer_unchecked", _STREAM_UNCHECKED if config.is_stream else _UNCHECKED
    elif not capabilities(properties).get("consumer_cancel_notify"):
        yield "source.cancel_unannounced", _CANCEL_UNANNOUNCED


def stream_remedy(config: Amqp) -> str:
    """Return what to do where a queue is a stream, and the file does not say so."""
    return _STREAM_REMEDY if config.deduplicate is None else _STREAM_REMEDY_DEDUPLICATE


def _headers(event: Event) -> Mapping[str, object]:
    try:
        return event.details()[0]
    except BadEvent:
        return {}
