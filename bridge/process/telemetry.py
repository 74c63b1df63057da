"""OpenTelemetry in the bridge's process: its tracer where a provider is set up, and the export of the last spans at a stop.

Without opentelemetry-api, and without a provider, the bridge has no spans of its own: then messages carry the trace as it came.

A provider is one that the process has already, or the SDK's, made by the standard variables of the environment: with
OTEL_TRACES_EXPORTER set, each exporter of that name which is installed. The SDK takes all else from its own variables
(OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, ...).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

import bridge
from bridge.config import Config
from bridge.observe import logs
from bridge.routing.routes import RouteTable

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

log = logs.logger()
_EXPORTER: Final = "OTEL_TRACES_EXPORTER"
_SERVICE_NAME: Final = "OTEL_SERVICE_NAME"
#: How long a stop waits for the export of the last spans; it is the last step, and no event waits for it.
_FLUSH_S: Final = 1.0


def attach(config: Config, tables: Mapping[str, RouteTable]) -> None:
    """Let the routes that write traces open spans, where a provider of them is set up."""
    tracings = {name: table.tracing for name, table in tables.items() if table.tracing is not None}
    tracer = _tracer() if tracings else None
    if tracer is not None:
        from bridge.routing.spans import EventSpans  # noqa: PLC0415 - it needs opentelemetry-api, which is there

        for name, tracing in tracings.items():
            tracing.spans = EventSpans(tracer, name, config.sources[name].type)


async def flush() -> None:
    """Export the spans that have ended, within a second: the process ends without Python's own farewell to libraries."""
    api = sys.modules.get("opentelemetry.trace")
    force_flush = None if api is None else getattr(api.get_tracer_provider(), "force_flush", None)
    if force_flush is not None:
        try:
            async with asyncio.timeout(_FLUSH_S):
                if not await asyncio.to_thread(force_flush, int(_FLUSH_S * 1000)):
                    raise TimeoutError
        except Exception as error:  # noqa: BLE001 - an exporter's, or that it takes too long
            log.warning("trace.not_exported", cause=str(error) or f"the exporter took longer than {_FLUSH_S:g} s")


def _tracer() -> Tracer | None:
    try:
        from opentelemetry import trace  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider) and os.environ.get(_EXPORTER, "none") not in {"", "none"}:
        _set_up()
        provider = trace.get_tracer_provider()
    if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        return None
    return provider.get_tracer("dramatiq-bridge", bridge.__version__)


def _set_up() -> None:
    """Set up the SDK by the variables of the environment."""
    names = [name.strip() for name in os.environ[_EXPORTER].split(",") if name.strip()]
    try:
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        named = _SERVICE_NAME in os.environ or SERVICE_NAME in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        provider = TracerProvider(
            resource=Resource.create({} if named else {SERVICE_NAME: "dramatiq-bridge"}), shutdown_on_exit=False
        )
        for name in names:
            provider.add_span_processor(BatchSpanProcessor(_exporter(name)()))
    except Exception as error:  # noqa: BLE001 - of the SDK or an exporter; no event depends on it
        log.warning("trace.no_spans", cause=f"{_EXPORTER} is set, and opentelemetry-sdk can't be set up: {error}")
        return
    trace.set_tracer_provider(provider)


def _exporter(name: str) -> Any:
    """Return the class of an exporter; `otlp` is that of OTEL_EXPORTER_OTLP_PROTOCOL, or any that is installed.

    Raises:
        LookupError: it is not installed.
    """
    installed = {each.name: each for each in entry_points(group="opentelemetry_traces_exporter")}
    protocols = {"grpc": ["otlp_proto_grpc"], "http/protobuf": ["otlp_proto_http"]}
    otlp = protocols.get(os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", ""), ["otlp_proto_http", "otlp_proto_grpc"])
    for candidate in otlp if name == "otlp" else [name]:
        if candidate in installed:
            return installed[candidate].load()
    hint = ", such as opentelemetry-exporter-otlp-proto-http" if name == "otlp" else ""
    raise LookupError(f"no exporter {name!r} is installed{hint}")
