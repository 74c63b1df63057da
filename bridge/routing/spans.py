"""Spans of the bridge itself, by OpenTelemetry's API: one for the receipt of a sampled event, one for its write.

Attributes follow the semantic conventions for messaging. Only events whose trace is sampled have spans, so that their publishers
decide how many there are.
"""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from bridge.model.event import Event
from bridge.observe.logs import RepeatedLog, logger
from bridge.routing.trace_headers import Trace

log = logger()
_repeated = RepeatedLog()
#: In characters: a topic comes from any publisher.
_MAX_TOPIC = 256
_NANOSECONDS = 1_000_000


class EventSpans:
    """Opens the spans of the events of the source `source`, whose protocol is `system`."""

    def __init__(self, tracer: trace.Tracer, source: str, system: str) -> None:
        self._tracer = tracer
        self._receive = f"receive {source}"
        self._received = {
            "messaging.system": system,
            "messaging.operation.name": "receive",
            "messaging.operation.type": "receive",
            "messaging.destination.subscription.name": source,
        }

    def open(self, event: Event, parent: Trace, queue: str) -> tuple[Trace, WriteSpan] | None:
        """Return the trace that the event's messages belong to, and the open span of their write; None if none is recorded."""
        received = self._tracer.start_span(
            self._receive,
            trace.set_span_in_context(NonRecordingSpan(_context(parent))),
            SpanKind.CONSUMER,
            {**self._received, "messaging.destination.name": event.topic[:_MAX_TOPIC]},
            start_time=event.received_at_ms * _NANOSECONDS,
        )
        if not received.is_recording():
            return None
        received.set_attribute("messaging.message.body.size", event.body_size)
        written = self._tracer.start_span(
            f"enqueue {queue}",
            trace.set_span_in_context(received),
            SpanKind.PRODUCER,
            {
                "messaging.system": "dramatiq",
                "messaging.operation.name": "enqueue",
                "messaging.operation.type": "send",
                "messaging.destination.name": queue,
            },
        )
        received.end()
        context = written.get_span_context()
        below = Trace(
            trace.format_trace_id(context.trace_id),
            trace.format_span_id(context.span_id),
            f"{context.trace_flags:02x}",
            context.trace_state.to_header(),
            parent.baggage,
        )
        return below, WriteSpan(written)


class WriteSpan:
    """The span of an event's write."""

    __slots__ = ("_span",)

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def end(self, outcome: str) -> None:
        """End it; an event that was neither written nor spooled has failed."""
        try:
            self._span.set_attribute("dramatiq_bridge.outcome", outcome)
            if outcome not in {"written", "spooled"}:
                self._span.set_status(Status(StatusCode.ERROR, outcome))
            self._span.end()
        except Exception as error:  # noqa: BLE001 - of a processor; it costs no event
            _repeated.write("end", log.warning, "trace.no_span", cause=repr(error))


def _context(parent: Trace) -> SpanContext:
    return SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(parent.flags, 16)),
        trace_state=TraceState.from_header([parent.state]) if parent.state else None,
    )
