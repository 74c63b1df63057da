"""A Dramatiq middleware for workers: an actor runs in the trace that the bridge has written into its message.

    from bridge.worker_middleware import TraceContext
    broker.add_middleware(TraceContext())

It reads the form `w3c` of the bridge's `tracing.propagate`. It needs dramatiq and opentelemetry-api, and nothing else of the bridge.
"""

from __future__ import annotations

import threading
from contextvars import Token
from typing import TYPE_CHECKING

try:
    import dramatiq
    from opentelemetry import context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise ImportError(
        f"bridge.worker_middleware needs dramatiq and opentelemetry-api in the worker: {error}", name=error.name
    ) from None

if TYPE_CHECKING:
    from dramatiq.broker import MessageProxy

_HEADERS = ("traceparent", "tracestate")


class TraceContext(dramatiq.Middleware):
    """Attaches the trace of a message before its actor runs, and detaches it afterwards, however that ends."""

    def __init__(self) -> None:
        self._propagator = TraceContextTextMapPropagator()
        self._attached = threading.local()

    def before_process_message(self, _broker: dramatiq.Broker, message: MessageProxy) -> None:
        """Attach the message's trace."""
        self._detach()  # of a message that was interrupted between the two calls
        carrier = {name: value for name in _HEADERS if isinstance(value := message.options.get(name), str)}
        if "traceparent" in carrier:
            self._attached.token = context.attach(self._propagator.extract(carrier))

    def after_process_message(self, *_: object, **_more: object) -> None:
        """Detach it, also after an exception."""
        self._detach()

    after_skip_message = after_process_message

    def _detach(self) -> None:
        token: Token[context.Context] | None = self._attached.__dict__.pop("token", None)
        if token is not None:
            context.detach(token)
