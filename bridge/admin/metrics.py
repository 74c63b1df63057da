"""The metrics of a bridge, with their names, labels and help; `exposition.py` writes them down.

A name is never one of an event: labels have only names of the configuration and words of closed sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Final, get_args

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from bridge.admin.readiness import problems
from bridge.errors import DeadLetterReason
from bridge.model.accounting import Repair
from bridge.model.control import ReloadResult
from bridge.model.state import EVENTS_BUCKETS, SECONDS_BUCKETS, BridgeState, Histogram, QueueState

PREFIX: Final = "dramatiq_bridge_"

_REASONS: Final[tuple[DeadLetterReason, ...]] = get_args(DeadLetterReason)
_REPAIRS: Final[tuple[Repair, ...]] = get_args(Repair)
_RESULTS: Final[tuple[str, ...]] = get_args(ReloadResult)
#: The states of a queue's messages: the fields of `QueueState`.
_QUEUE_STATES: Final = QueueState.__struct_fields__

#: Name, field of a source's counts, help.
_SOURCE_COUNTERS: Final = (
    ("events_received", "received", "Events that came from the broker; what it redelivers counts again."),
    ("events_recovered", "recovered", "Events found in the spool of an earlier run."),
    (
        "events_enqueued",
        "enqueued",
        "Events of which at least one message was written to Dramatiq's Redis, and no route failed.",
    ),
    ("events_filtered", "filtered", "Events dropped on purpose: routes have their topic, and no `when` was true."),
    ("events_unmatched", "unmatched", "Events dropped because no route has their topic."),
    ("events_deduplicated", "deduplicated", "Events that were written before, and so were not written again."),
    ("events_expired", "expired", "Events that were not written, since their own time was up (`expires` of a route)."),
    ("events_returned", "returned", "Events that were not written, and that the broker redelivers."),
    ("events_lost", "lost", "Events that are lost: not written, and nobody redelivers them. Above 0 needs a look."),
    ("messages_written", "messages", "Messages written to Dramatiq's Redis; an event can make several."),
    ("invalid_traces", "invalid_traces", "Events whose trace was malformed, or a part of it: that was left out."),
    ("dead_letters_trimmed", "trimmed", "Old dead letters deleted to keep `dead_letters` within its bounds."),
)
#: Name, field of a source's state, help.
_SOURCE_GAUGES: Final = (
    ("events_in_flight", "in_flight", "Events that are received and have no outcome yet."),
    ("events_perishable", "perishable", "Events in flight that would be lost if the process ended now."),
    ("events_spooled", "spooled", "Events that wait on the disk."),
    ("spool_bytes", "spooled_bytes", "Size of the events that wait on the disk."),
    ("events_held", "held", "Events received and not acknowledged yet."),
    ("events_window", "window", "Events that the source may hold before it stops reading."),
    (
        "window_fill_ratio",
        "fill",
        "Share of the window that is used, by number or bytes: at 1 the source reads no more.",
    ),
    (
        "unacknowledged_seconds",
        "unacknowledged_s",
        "Time since the last acknowledgement while events are held, 0 while none is. High beside a full window: stuck.",
    ),
    ("source_disconnected_seconds", "disconnected_s", "Time without a connection, 0 while there is one."),
    ("source_connected", "connected", "1 if the source is connected in every process, 0 if not."),
    ("source_paused", "paused", "1 if a person has paused the source."),
    ("source_pressure", "pressure", "1 if a queue or a Redis that is full pauses the source."),
    ("source_stuck", "stuck", "1 if the source holds events, acknowledges none, and a new connection did not help."),
    (
        "accounting_error",
        "accounting_error",
        "Received + recovered - all classes - in flight - spooled. Other than 0: a fault of the bridge, please report it.",
    ),
)
#: Name, field of a source's state, help.
_OTHER_SOURCE_COUNTERS: Final = (
    ("source_reconnects", "reconnects", "Connections of the source that were made again after one had ended."),
    (
        "events_missed",
        "missed",
        "Events that their server has deleted before the bridge read them, at most. They are lost.",
    ),
    (
        "source_gaps",
        "gaps",
        "Times without a connection in which events of pub/sub may have come, and streams that were made anew; not those of a reload.",
    ),
)
#: Name, field of a route's counts, help.
_ROUTE_COUNTERS: Final = (
    ("route_events_matched", "matched", "Events of which the route made messages."),
    ("route_events_filtered", "filtered", "Events that have the route's topic, and for which its `when` was false."),
    ("route_events_dead_lettered", "dead_lettered", "Events of which the route could make no message."),
    ("route_events_expired", "expired", "Events of which the route made no message, since their time was up."),
    (
        "route_messages_deduplicated",
        "deduplicated",
        "Messages of the route that were not written, since one with their key was written before.",
    ),
)


def families(state: BridgeState) -> Iterator[Metric]:
    """Yield the metrics one by one."""
    yield from _bridge(state)
    yield from _events(state)
    yield from _sources(state)
    yield from _routes(state)
    yield from _sink(state)


def _bridge(state: BridgeState) -> Iterator[Metric]:
    yield _gauge("ready", "1 if the bridge is ready, as /readyz says, which names the causes.", not problems(state))
    yield _gauge("processes", "Processes of the bridge that are ready.", state.processes)
    yield _gauge("processes_expected", "Processes that the bridge should have.", state.expected)
    yield _gauge("start_timestamp_seconds", "When the bridge started, in epoch seconds.", state.started_at)
    yield _gauge(
        "config_loaded_timestamp_seconds",
        "When the configuration that is live was loaded, in epoch seconds.",
        state.loaded_at,
    )
    info = InfoMetricFamily(f"{PREFIX}config", "The version of the bridge, and the configuration that is live.")
    names = {"version": state.version, "fingerprint": state.fingerprint, "namespace": state.namespace}
    info.add_metric([], names)
    yield info
    yield _counter(
        "reloads",
        "Attempts to reload the configuration. Only `ok` has changed something.",
        ("result",),
        (((result,), state.reloads.get(result, 0)) for result in _RESULTS),
    )
    yield _gauge(
        "last_reload_successful",
        "0 if the newest reload has changed nothing: the file is not what runs. 1 otherwise.",
        not state.reload_cause,
    )
    yield _counter(
        "process_restarts",
        "Processes of the bridge that were started again because one had ended; 0 where there is one process.",
        (),
        (((), state.restarts),),
    )
    yield _counter(
        "log_lines_left_out",
        "Lines of the log that nobody has taken: its reader is slow or gone, or its disk is full.",
        (),
        (((), state.lines_left_out),),
    )
    yield _counter("cpu_seconds", "Processor time of all processes of the bridge.", (), (((), state.cpu_s),))
    yield _gauge(
        "memory_bytes", "Resident memory of all processes; what they share counts in each.", state.memory_bytes
    )
    yield _gauge(
        "spool_fill_ratio",
        "Share of the spool's max_size that is used, of the process with the largest share; 0 without a spool.",
        state.spool_fill,
    )
    yield _gauge("loop_lag_seconds", "Longest delay of the event loop in the last seconds.", state.lag_s)


def _events(state: BridgeState) -> Iterator[Metric]:
    for name, attribute, words in _SOURCE_COUNTERS:
        get = attrgetter(attribute)
        rows = (((source,), get(each.counts)) for source, each in state.sources.items())
        yield _counter(name, words, ("source",), rows)
    yield _counter(
        "events_dead_lettered",
        "Events that can never become a message: they are in the dead letters, with the reason.",
        ("source", "reason"),
        (
            ((source, reason), each.counts.reasons.get(reason, 0))
            for source, each in state.sources.items()
            for reason in _REASONS
        ),
    )
    yield _counter(
        "bodies_repaired",
        "Bodies that could not be read as they came, and were read after a repair; whatever became of the event.",
        ("source", "repair"),
        (
            ((source, repair), each.counts.repaired.get(repair, 0))
            for source, each in state.sources.items()
            for repair in _REPAIRS
        ),
    )


def _sources(state: BridgeState) -> Iterator[Metric]:
    for name, attribute, words in _SOURCE_GAUGES:
        get = attrgetter(attribute)
        # A source without a spool has None spooled.
        rows = (((source,), get(each) or 0) for source, each in state.sources.items())
        yield _gauges(name, words, ("source",), rows)
    for name, attribute, words in _OTHER_SOURCE_COUNTERS:
        get = attrgetter(attribute)
        yield _counter(name, words, ("source",), (((source,), get(each)) for source, each in state.sources.items()))
    yield _histogram(
        "batch_events",
        "Events of a batch, which one write brings to Redis.",
        EVENTS_BUCKETS,
        ("source",),
        (((source,), each.batches) for source, each in state.sources.items()),
    )
    yield _histogram(
        "event_age_seconds",
        "Time from the receipt of an event to its write, of each batch the oldest one.",
        SECONDS_BUCKETS,
        ("source",),
        (((source,), each.age) for source, each in state.sources.items()),
    )


def _routes(state: BridgeState) -> Iterator[Metric]:
    rows = [((route.source, name), state.counts_of_route(name), route.paused) for name, route in state.routes.items()]
    labels = ("source", "route")
    for name, attribute, words in _ROUTE_COUNTERS:
        get = attrgetter(attribute)
        yield _counter(name, words, labels, ((values, get(each)) for values, each, _ in rows))
    yield _gauges("route_paused", "1 if a person has paused the route.", labels, ((row[0], row[2]) for row in rows))


def _sink(state: BridgeState) -> Iterator[Metric]:
    sink = state.sink
    yield _gauge("sink_available", "1 if Dramatiq's Redis takes writes.", sink.available)
    yield _counter("sink_retries", "Writes that failed and were tried again.", (), (((), sink.retries),))
    yield _histogram(
        "enqueue_duration_seconds",
        "Duration of the writes to Dramatiq's Redis that were confirmed.",
        SECONDS_BUCKETS,
        (),
        (((), sink.writes),),
    )
    yield _gauges(
        "queue_messages",
        "Messages of Dramatiq's queue: those that wait, are delayed, are in the hands of workers, or are dead.",
        ("queue", "state"),
        (((name, each), getattr(queue, each)) for name, queue in state.queues.items() for each in _QUEUE_STATES),
    )


_Row = tuple[Sequence[str], float]


def _unit(name: str) -> str:
    return next((unit for unit in ("seconds", "bytes", "ratio") if name.endswith(f"_{unit}")), "")


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, words, value=value, unit=_unit(name))


def _gauges(name: str, words: str, labels: Sequence[str], rows: Iterable[_Row]) -> Metric:
    return _filled(GaugeMetricFamily(PREFIX + name, words, labels=labels, unit=_unit(name)), rows)


def _counter(name: str, words: str, labels: Sequence[str], rows: Iterable[_Row]) -> Metric:
    return _filled(CounterMetricFamily(PREFIX + name, words, labels=labels, unit=_unit(name)), rows)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, rows: Iterable[_Row]) -> Metric:
    add: Callable[[Sequence[str], float], None] = family.add_metric
    for values, number in rows:
        add(values, number)
    return family


def _histogram(
    name: str,
    words: str,
    bounds: Sequence[float],
    labels: Sequence[str],
    rows: Iterable[tuple[Sequence[str], Histogram]],
) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, words, labels=labels, unit=_unit(name))
    texts = [*map(floatToGoString, bounds), "+Inf"]
    for values, histogram in rows:
        numbers = histogram.buckets or [0] * len(texts)
        below, buckets = 0, []
        for text, number in zip(texts, numbers, strict=True):
            below += number
            buckets.append((text, below))
        family.add_metric(values, buckets, histogram.total)
    return family
