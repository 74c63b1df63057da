"""The actors of a worker that traces, as an application sets it up; each message's spans go to the file TESTS_SPANS.

Run by `tests.support.processes.Worker` as `python -m dramatiq tests.support.traced_actors`; TESTS_TRACING names the library.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO, SkipMessage
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.support.span_file import FileExporter, append

if TYPE_CHECKING:
    from sentry_sdk.envelope import Envelope

_library = os.environ["TESTS_TRACING"]


class Skip(dramatiq.Middleware):
    """Skips the messages whose option says so, after their trace was attached."""

    def before_process_message(self, _broker: dramatiq.Broker, message: Any) -> None:
        """Skip it."""
        if message.options.get("skip"):
            append([{"name": "skipped", "n": message.args[0]}])
            raise SkipMessage


def _start_sentry() -> None:
    import sentry_sdk  # noqa: PLC0415 - of this library's worker alone
    from sentry_sdk.integrations.dramatiq import DramatiqIntegration  # noqa: PLC0415
    from sentry_sdk.transport import Transport  # noqa: PLC0415

    class Recording(Transport):
        def capture_envelope(self, envelope: Envelope) -> None:
            for item in envelope.items:
                found = item.payload.json or {}
                if item.type == "transaction":
                    n = found["contexts"]["dramatiq"]["data"]["args"][0]
                    append([{"name": "transaction", "n": n, **found["contexts"]["trace"]}])

    sentry_sdk.init(
        dsn="http://key@127.0.0.1:9/1",
        transport=Recording,
        traces_sample_rate=1.0,
        integrations=[DramatiqIntegration()],
        default_integrations=False,
        auto_enabling_integrations=False,
    )


def _start_opentelemetry() -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(FileExporter()))
    trace.set_tracer_provider(provider)


if _library == "sentry":
    _start_sentry()
else:
    _start_opentelemetry()
broker = RedisBroker(url=os.environ["TESTS_REDIS_URL"], namespace=os.environ.get("TESTS_NAMESPACE", "dramatiq"))
if _library == "w3c":
    from bridge.worker_middleware import TraceContext

    broker.add_middleware(TraceContext())
if _library == "otel-instrumentor":
    from opentelemetry_instrumentor_dramatiq import DramatiqInstrumentor  # type: ignore[import-untyped]

    DramatiqInstrumentor().instrument()
broker.add_middleware(AsyncIO())
broker.add_middleware(Skip())
dramatiq.set_broker(broker)


@dramatiq.actor(max_retries=0)
def record(n: int, *, fails: bool = False) -> int:
    """Open a span of the application's own, and fail on demand; return the number of a pipeline's next step."""
    with _span(n):
        if fails:
            raise RuntimeError("this message fails")
    return n + 100


@dramatiq.actor(max_retries=0)
async def record_async(n: int) -> None:
    """Do so on the worker's event loop, another thread."""
    with _span(n):
        pass


def _span(n: int) -> AbstractContextManager[object]:
    if _library == "sentry":
        return nullcontext()
    return trace.get_tracer("application").start_as_current_span("work", attributes={"n": n})
