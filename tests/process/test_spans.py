"""The bridge's own spans: however the write of an event ends, and with any set-up of OpenTelemetry."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from signal import SIGHUP
from typing import Any

import pytest

from tests.process.test_traces import SPAN_ID, by_name, config, publish, trace_id, traced_bridge, wait_for_spans
from tests.sources.test_traces import publish as publish_by_mqtt
from tests.support import span_file
from tests.support.brokers import Mosquitto, Redis
from tests.support.children import wait_until
from tests.support.feeds import MqttFeed, StreamFeed
from tests.support.processes import Bridges, queue_messages


def _own(path: Path) -> list[tuple[str, str, str | None]]:
    spans = by_name(span_file.read(path))
    return [
        (span["trace_id"], span["status"], span["attributes"]["dramatiq_bridge.outcome"])
        for span in spans.get("enqueue", [])
    ]


def test_the_span_of_a_write_lasts_until_redis_takes_it(
    stream: StreamFeed, new_redis: Callable[..., Redis], new_bridge: Bridges, tmp_path: Path
) -> None:
    """While Redis is away its events wait; then the spans end as written, with the time that it took."""
    sink = new_redis()
    traced_bridge(new_bridge, config(stream, sink, "w3c"), tmp_path)
    sink.stop()
    publish(stream, 0, traced=True)
    time.sleep(1)
    assert _own(tmp_path / "spans") == []
    sink.start()
    (span,) = wait_for_spans(tmp_path / "spans", 1, "enqueue default")
    assert _own(tmp_path / "spans") == [(trace_id(0), "UNSET", "written")]
    assert span["milliseconds"] > 900
    with sink.client() as client:
        (message,) = queue_messages(client, "default")
    assert message["options"]["traceparent"] == f"00-{trace_id(0)}-{span['span_id']}-01"


def test_an_event_that_is_not_written_ends_its_span_as_an_error(
    stream: StreamFeed, new_redis: Callable[..., Redis], new_bridge: Bridges, tmp_path: Path
) -> None:
    """A stop while Redis is away returns the event to its broker; its span says so, and is exported."""
    sink = new_redis()
    bridge = traced_bridge(new_bridge, config(stream, sink, "w3c", drain_timeout="1s"), tmp_path)
    sink.stop()
    publish(stream, 0, traced=True)
    bridge.wait_for("sink.unavailable")
    bridge.terminate()
    assert bridge.wait() == 0
    assert _own(tmp_path / "spans") == [(trace_id(0), "ERROR", "returned")]


def test_a_trace_survives_the_spool(
    mosquitto: Mosquitto, new_redis: Callable[..., Redis], new_bridge: Bridges, tmp_path: Path
) -> None:
    """An event's headers are kept there: the message that is written after a restart belongs to its trace, by spans of its own."""
    sink, feed = new_redis(), MqttFeed(mosquitto)
    settings = {**feed.config(sink, qos=0), "spool": {"directory": str(tmp_path / "spool")}}
    bridge = traced_bridge(new_bridge, {**settings, "tracing": {"propagate": ["w3c"]}}, tmp_path)
    sink.stop()
    publish_by_mqtt(feed, 0, [("traceparent", f"00-{trace_id(0)}-{SPAN_ID}-01")])
    bridge.wait_for("sink.unavailable")
    bridge.terminate()
    assert bridge.wait() == 0
    assert _own(tmp_path / "spans") == [(trace_id(0), "UNSET", "spooled")]
    sink.start()
    bridge.start().ready()
    _, written = wait_for_spans(tmp_path / "spans", 2, "enqueue default")
    assert _own(tmp_path / "spans")[1] == (trace_id(0), "UNSET", "written")
    with sink.client() as client:
        (message,) = queue_messages(client, "default")
    assert message["options"]["traceparent"] == f"00-{trace_id(0)}-{written['span_id']}-01"


@pytest.mark.parametrize(
    ("env", "cause"),
    [
        ({"OTEL_TRACES_EXPORTER": "carrier-pigeon"}, "no exporter 'carrier-pigeon' is installed"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "such as opentelemetry-exporter-otlp-proto-http"),
    ],
)
def test_an_exporter_that_is_missing_costs_no_event(  # noqa: PLR0917 - pytest passes them by name
    env: dict[str, str], cause: str, stream: StreamFeed, redis_server: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """The log says which one; messages carry the publisher's own trace."""
    bridge = traced_bridge(new_bridge, config(stream, redis_server, "w3c"), tmp_path, **env)
    assert cause in bridge.wait_for("trace.no_spans")["cause"]
    _publishers_own(stream, redis_server)


def test_an_exporter_that_hangs_delays_neither_events_nor_a_stop(
    stream: StreamFeed, redis_server: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """A stop waits a second for it, and says that spans are missing."""
    bridge = traced_bridge(new_bridge, config(stream, redis_server, "w3c"), tmp_path, TESTS_SPANS_WAIT="600")
    for n in range(3):
        publish(stream, n, traced=True)
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 3, 30, "all messages")
    bridge.terminate()
    assert bridge.wait(20) == 0
    bridge.wait_for("trace.not_exported", cause="the exporter took longer than 1 s")
    assert bridge.wait_for("bridge.stopped")["enqueued"] == 3


@pytest.mark.parametrize("env", [{"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_TRACES_SAMPLER": "always_off"}, {}])
def test_without_spans_the_publishers_trace_goes_on_unchanged(
    env: dict[str, str], stream: StreamFeed, redis_server: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """Where no exporter is chosen, or a sampler wants no spans of the bridge."""
    if env:
        traced_bridge(new_bridge, config(stream, redis_server, "w3c"), tmp_path, **env)
    else:
        new_bridge(config(stream, redis_server, "w3c")).ready()
    _publishers_own(stream, redis_server)
    assert span_file.read(tmp_path / "spans") == []


def _publishers_own(stream: StreamFeed, sink: Redis) -> None:
    publish(stream, 0, traced=True)
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 1, 30, "the message")
        (message,) = queue_messages(client, "default")
    options: dict[str, Any] = message["options"]
    assert options["traceparent"] == f"00-{trace_id(0)}-{SPAN_ID}-01"
    assert options["tracestate"] == "vendor=1"


def test_a_reload_changes_the_forms(
    stream: StreamFeed, redis_server: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """`tracing` is live without a connection being closed; spans begin with it where OpenTelemetry is set up."""
    bridge = traced_bridge(new_bridge, config(stream, redis_server), tmp_path)
    publish(stream, 0, traced=True)
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 1, 30, "the first message")
        bridge.configure(config(stream, redis_server, "w3c"))
        bridge.signal(SIGHUP)
        bridge.wait_for("bridge.reloaded")
        publish(stream, 1, traced=True)
        wait_until(lambda: client.llen("dramatiq:default") == 2, 30, "the second message")
        before, after = queue_messages(client, "default")
    (span,) = wait_for_spans(tmp_path / "spans", 1, "enqueue default")
    assert "traceparent" not in before["options"]
    assert after["options"]["traceparent"] == f"00-{trace_id(1)}-{span['span_id']}-01"
    assert len(bridge.events("source.connected")) == 1
