"""An exporter of OpenTelemetry that appends each span to the file that TESTS_SPANS names, one JSON object a line."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import format_span_id, format_trace_id

from tests.support.children import REPOSITORY


class FileExporter(SpanExporter):
    """Appends; several processes may share the file."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append the spans, each with its ids in hexadecimal digits; TESTS_SPANS_WAIT says how many seconds that takes."""
        time.sleep(float(os.environ.get("TESTS_SPANS_WAIT", "0")))
        append([_fields(span) for span in spans])
        return SpanExportResult.SUCCESS


class Configurator:
    """Sets the SDK up in a process that `opentelemetry-instrument` starts, before any of its own code: as a distribution does."""

    def configure(self, **_: object) -> None:
        """Set it up."""
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(FileExporter()))
        trace.set_tracer_provider(provider)


def append(lines: Sequence[dict[str, Any]]) -> None:
    """Append objects to the file."""
    with Path(os.environ["TESTS_SPANS"]).open("a") as file:
        file.write("".join(f"{json.dumps(line)}\n" for line in lines))


def read(path: Path) -> list[dict[str, Any]]:
    """Return the objects in the file, oldest first."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def exporter_environment(directory: Path, spans: Path) -> dict[str, str]:
    """Return the environment of a process in which the exporter is installed as `to_file`, and chosen."""
    installed = directory / "to_file-1.dist-info"
    installed.mkdir(parents=True, exist_ok=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: to-file\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(
        "[opentelemetry_traces_exporter]\nto_file = tests.support.span_file:FileExporter\n"
        "[opentelemetry_configurator]\nto_file = tests.support.span_file:Configurator\n"
    )
    paths = [str(directory), str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "TESTS_SPANS": str(spans),
        "OTEL_TRACES_EXPORTER": "to_file",
    }


def _fields(span: ReadableSpan) -> dict[str, Any]:
    context = span.get_span_context()
    assert context is not None
    return {
        "name": span.name,
        "kind": span.kind.name,
        "trace_id": format_trace_id(context.trace_id),
        "span_id": format_span_id(context.span_id),
        "parent_id": format_span_id(span.parent.span_id) if span.parent is not None else None,
        "parent_trace_id": format_trace_id(span.parent.trace_id) if span.parent is not None else None,
        "status": span.status.status_code.name,
        "attributes": dict(span.attributes or {}),
        "state": context.trace_state.to_header(),
        "service": span.resource.attributes.get("service.name"),
        "milliseconds": ((span.end_time or 0) - (span.start_time or 0)) / 1e6,
    }
