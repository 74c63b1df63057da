"""The traces of events: read from their headers, and written into the options of their messages.

A route that writes traces asks for the trace of an event once its `when` is true. Without `tracing.propagate` no route does, and
nothing of this runs. A trace that is malformed is left out, counted and logged; it never costs an event its message.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from bridge.config.message_options import each_message
from bridge.config.tracing import Form, TracingSettings
from bridge.errors import BadEvent
from bridge.model.batch import OpenSpan
from bridge.model.event import Event
from bridge.observe.logs import RepeatedLog, logger
from bridge.routing.trace_headers import (
    BAGGAGE,
    TRACEPARENT,
    TRACESTATE,
    InvalidTrace,
    Trace,
    read_baggage,
    read_traceparent,
    read_tracestate,
)

log = logger()
_encode = msgspec.json.Encoder().encode
_EMPTY: Final[Mapping[str, object]] = {}
#: The options that hold each form.
OPTIONS: Final[Mapping[Form, frozenset[str]]] = {
    "w3c": frozenset({TRACEPARENT, TRACESTATE}),
    "sentry": frozenset({"_sentry_headers"}),
    "otel-instrumentor": frozenset({"options"}),
}
_Parts = Sequence[Callable[[Trace | None], bytes]]
#: The marks in the JSON of a message, each with its forms.
Marks = dict[bytes, _Parts]
#: Begins the name of an option that stands for a trace; no publisher knows it.
_MARK: Final = secrets.token_hex(16)
#: Of an event without a trace. opentelemetry-instrumentor-dramatiq 0.1.4 never detaches a context: in a thread of a worker each
#: message without one would join the trace of the message before. It attaches only a context that is not empty. Of an invalid
#: traceparent, and of no header at all, the propagators make an empty one; of a baggage one without a span (observed).
_NO_TRACE: Final[Mapping[str, str]] = {BAGGAGE: "trace=none"}


class Spans(Protocol):
    """Opens the spans of an event."""

    def open(self, event: Event, trace: Trace, queue: str) -> tuple[Trace, OpenSpan] | None:
        """Return the trace that the event's messages belong to, and the span of their write; None if it records none."""
        ...


@dataclass(slots=True, eq=False)
class BatchTraces:
    """The events of one batch whose trace was malformed, in number, and the spans of the others that are open."""

    invalid: int = 0
    spans: list[OpenSpan] = field(default_factory=list)


class Tracing:
    """The traces of the events of one source.

    The router calls `begin` and `end` around a batch, and `resume` where it has let others run. Between them the routes' writers
    ask for the trace of one event after another; several routes may ask for the same one.
    """

    __slots__ = ("_batch", "_event", "_in_payload", "_repeated", "_settings", "_source", "_trace", "spans")

    def __init__(self, settings: TracingSettings, source: str, *, in_payload: bool) -> None:
        #: Opens spans, where OpenTelemetry is set up.
        self.spans: Spans | None = None
        self._settings = settings
        self._source = source
        #: Whether the headers stand among the fields of the payload: the source's events have no others.
        self._in_payload = in_payload
        self._repeated = RepeatedLog()
        self._batch = BatchTraces()
        self._event: Event | None = None
        self._trace: Trace | None = None

    def begin(self) -> BatchTraces:
        """Begin a batch."""
        self.resume(BatchTraces())
        return self._batch

    def resume(self, batch: BatchTraces) -> None:
        """Go on with a batch."""
        self._batch = batch
        self._event = self._trace = None

    def end(self) -> None:
        """End a batch: an event that is routed again later is read again, and nothing of this batch is kept."""
        self.resume(BatchTraces())

    def writer(self, options: Collection[str], queue: str) -> Callable[[Event, object], bytes]:
        """Return the function of a route that gives the options of an event's trace.

        It takes the event and its payload, and returns JSON that goes behind the redis_message_id: its closing quote, then
        the options. `options` are the route's own; each wins over a form that has an option of this name.
        """
        parts = _parts(self.forms(options))
        untraced = b'"' + b"".join([part(None) for part in parts])

        def write(event: Event, payload: object) -> bytes:
            if event is not self._event:
                self._event, self._trace = event, None
                self._trace = self._begin_trace(event, payload, queue)
            trace = self._trace
            return untraced if trace is None else b'"' + b"".join([part(trace) for part in parts])

        return write

    def marked(self, options: Mapping[str, Any]) -> tuple[dict[str, Any], Marks]:
        """Return a route's checked options with a mark in each message of a pipeline, which `filled` replaces; and the marks."""
        marks: Marks = {}

        def mark(message: Mapping[str, Any]) -> dict[str, Any]:
            inner, found = self.marked(message["options"])
            marks.update(found)
            forms = self.forms(inner)
            if forms:
                name = f"{_MARK}-{'-'.join(forms)}"
                inner[name] = None
                marks[b'"%b":null' % name.encode()] = _parts(forms)
            return {**message, "options": inner}

        return each_message(options, mark), marks

    def filled(self, build: Callable[..., tuple[bytes, bytes]], marks: Marks) -> Callable[..., tuple[bytes, bytes]]:
        """Return a builder of messages as `build`, in which the trace of the event stands in the place of each mark.

        `build` was given the result of a `writer`, so that the trace is that of the message's event.
        """

        def fill(*values: object) -> tuple[bytes, bytes]:
            redis_id, body = build(*values)
            return redis_id, self.with_trace(body, marks)

        return fill

    def with_trace(self, body: bytes, marks: Marks) -> bytes:
        """Return the body of a message, in which the trace of the event stands in the place of each mark."""
        for mark, parts in marks.items():
            options = b"".join([part(self._trace) for part in parts])
            body = body.replace(b"," + mark, options).replace(mark, options[1:])
        return body

    def forms(self, options: Collection[str]) -> Sequence[Form]:
        """Return the forms that go into a message with these options of its own."""
        return [form for form in self._settings.propagate if OPTIONS[form].isdisjoint(options)]

    def _begin_trace(self, event: Event, payload: object, queue: str) -> Trace | None:
        trace = self._read(event, payload)
        if trace is not None and self.spans is not None and trace.sampled:
            try:
                opened = self.spans.open(event, trace, queue)
            except Exception as error:  # noqa: BLE001 - of a sampler or a processor; it costs no message
                self._repeated.write("span", log.warning, "trace.no_span", source=self._source, cause=repr(error))
                return trace
            if opened is not None:
                trace, span = opened
                self._batch.spans.append(span)
        return trace

    def _read(self, event: Event, payload: object) -> Trace | None:
        headers = self._headers(event, payload)
        value = headers.get(TRACEPARENT)
        if value is None:
            return None
        causes: list[InvalidTrace] = []
        try:
            trace = read_traceparent(value)
        except InvalidTrace as error:
            self._count_invalid(error)
            return None
        state = _read_optional(read_tracestate, headers.get(TRACESTATE), causes)
        baggage = _read_optional(read_baggage, headers.get(BAGGAGE), causes) if self._settings.baggage else ""
        if causes:
            self._count_invalid(causes[0])
        return msgspec.structs.replace(trace, state=state, baggage=baggage) if state or baggage else trace

    def _headers(self, event: Event, payload: object) -> Mapping[str, object]:
        if self._in_payload:
            return payload if isinstance(payload, dict) else _EMPTY
        try:
            return event.details()[0]
        except BadEvent as error:
            # A route that uses headers makes a dead letter of the event; this one needs none of them.
            self._count_invalid(InvalidTrace(f"the headers can't be read: {error.detail}"))
            return _EMPTY

    def _count_invalid(self, error: InvalidTrace) -> None:
        self._batch.invalid += 1
        cause = str(error)
        self._repeated.write(cause, log.warning, "trace.invalid", source=self._source, cause=cause)


def _parts(forms: Sequence[Form]) -> _Parts:
    return [_WRITERS[form] for form in forms]


def _read_optional(read: Callable[[object], str], value: object, causes: list[InvalidTrace]) -> str:
    if value is None:
        return ""
    try:
        return read(value)
    except InvalidTrace as error:
        causes.append(error)
        return ""


def _w3c(trace: Trace | None) -> bytes:
    """Return two options of their own, as `bridge.worker_middleware` reads them."""
    if trace is None:
        return b""
    state = b',"tracestate":' + _encode(trace.state) if trace.state else b""
    return b',"traceparent":"%b"%b' % (trace.traceparent.encode(), state)


def _sentry(trace: Trace | None) -> bytes:
    """Return the option that sentry-sdk's integration reads: a mapping of headers; its middleware breaks on a text."""
    if trace is None:
        return b""
    headers = {"sentry-trace": f"{trace.trace_id}-{trace.span_id}-{int(trace.sampled)}"}
    if trace.baggage:
        headers[BAGGAGE] = trace.baggage
    return b',"_sentry_headers":' + _encode(headers)


def _otel_instrumentor(trace: Trace | None) -> bytes:
    """Return the option that opentelemetry-instrumentor-dramatiq reads: of every message, see _NO_TRACE."""
    carrier = dict(_NO_TRACE)
    if trace is not None:
        carrier = {TRACEPARENT: trace.traceparent}
        if trace.state:
            carrier[TRACESTATE] = trace.state
        if trace.baggage:
            carrier[BAGGAGE] = trace.baggage
    return b',"options":' + _encode({"trace_context": carrier})


_WRITERS: Final[Mapping[Form, Callable[[Trace | None], bytes]]] = {
    "w3c": _w3c,
    "sentry": _sentry,
    "otel-instrumentor": _otel_instrumentor,
}
