"""Traces from an event to its actor: real bridges, and real workers with the packages that read each form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from signal import SIGTERM
from typing import Any, Final

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker

from tests.support import span_file
from tests.support.brokers import Redis
from tests.support.children import Child, wait_until
from tests.support.feeds import StreamFeed
from tests.support.processes import BridgeProcess, Bridges, Worker, queue_messages

FORMS: Final = ("w3c", "sentry", "otel-instrumentor")
SPAN_ID: Final = "b7ad6b7169203331"
#: Of six messages; every other one has a trace.
PAYLOADS: Final[list[dict[str, Any]]] = [{}, {}, {"fails": True}, {}, {"skip": True}, {}]
#: The spans of the instrumentor itself, one for each message.
WORKER_SPAN: Final = "dramatiq.worker.WorkerThread"


def trace_id(n: int) -> str:
    """Return the trace id of the event `n`."""
    return f"{n + 1:032x}"


def publish(stream: StreamFeed, n: int, *, traced: bool, flags: str = "01", **payload: Any) -> None:
    """Append an entry with the number, and with a trace of its own."""
    headers = {"traceparent": f"00-{trace_id(n)}-{SPAN_ID}-{flags}", "tracestate": "vendor=1"} if traced else {}
    with stream.broker.client() as client:
        client.xadd(stream.name, {"data": json.dumps({"n": n, **payload}), **headers})


def config(stream: StreamFeed, sink: Redis, *forms: str, **more: Any) -> dict[str, Any]:
    """Return a configuration whose messages carry traces in these forms."""
    route = {
        "args": ["$payload.n"],
        "kwargs": {"fails": "$default(payload.fails, False)"},
        "options": {"skip": "$default(payload.skip, False)"},
    }
    return {**stream.config(sink, route), "tracing": {"propagate": list(forms)}, **more}


def wait_for_spans(path: Path, count: int, *names: str) -> list[dict[str, Any]]:
    """Return the first `count` spans of these names."""

    def found() -> list[dict[str, Any]]:
        return [span for span in span_file.read(path) if span["name"] in names]

    wait_until(lambda: len(found()) >= count, 30, f"{count} spans of {names}")
    return found()[:count]


def traced_worker(new_worker: Callable[..., Worker], sink: Redis, form: str, spans: Path) -> Worker:
    """Start a worker of one thread, which has the package of a form."""
    env = {"TESTS_TRACING": form, "TESTS_SPANS": str(spans)}
    return new_worker(sink.url_of(0), threads=1, actors="traced_actors", env=env)


@pytest.mark.parametrize("form", FORMS)
def test_an_actor_runs_in_its_events_trace_and_in_no_other(  # noqa: PLR0917 - pytest passes them by name
    form: str,
    stream: StreamFeed,
    redis_server: Redis,
    new_bridge: Bridges,
    new_worker: Callable[..., Worker],
    tmp_path: Path,
) -> None:
    """Of six messages in one thread those with a trace join it, and those behind them do not: also behind a failure and a skip."""
    spans = tmp_path / "spans"
    new_bridge(config(stream, redis_server, form)).ready()
    traced_worker(new_worker, redis_server, form, spans)
    name = "transaction" if form == "sentry" else "work"
    expected: dict[int, str | None] = {}
    for n, payload in enumerate(PAYLOADS):
        publish(stream, n, traced=n % 2 == 0, **payload)
        if payload.get("skip"):
            wait_for_spans(spans, 1, "skipped")
            if form != "sentry":  # that has a transaction of it all the same
                continue
        expected[n] = trace_id(n) if n % 2 == 0 else None
        wait_for_spans(spans, len(expected), name)
    found = wait_for_spans(spans, len(expected), name)
    known = {trace_id(n) for n in range(6)}
    for span in found:
        n = span["n"] if form == "sentry" else span["attributes"]["n"]
        parent = span.get("parent_span_id" if form == "sentry" else "parent_id")
        if expected[n] is not None:
            assert (span["trace_id"], parent) == (expected[n], SPAN_ID), n
        else:
            assert span["trace_id"] not in known, n
            assert not parent, n
    assert len({span["trace_id"] for span in found}) == len(found)
    if form == "otel-instrumentor":
        own = wait_for_spans(spans, 6, WORKER_SPAN)
        assert [span["trace_id"] in known for span in own] == [True, False, True, False, True, False]
        assert [span["parent_id"] for span in own] == [SPAN_ID, None] * 3


def test_the_instrumentor_alone_never_detaches(
    redis_server: Redis, new_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    """With its release 0.1.4 a message without a carrier joins the trace of the message before: so each one gets a carrier.

    Neither an empty carrier nor an invalid traceparent in it helps: they leave the actor in that trace.
    """
    spans = tmp_path / "spans"
    traced_worker(new_worker, redis_server, "otel-instrumentor", spans)
    broker = RedisBroker(url=redis_server.url_of(0))
    broker.declare_queue("default")
    carriers: list[dict[str, Any]] = [
        {"options": {"trace_context": {"traceparent": f"00-{trace_id(0)}-{SPAN_ID}-01"}}},
        {},
        {"options": {"trace_context": {}}},
        {"options": {"trace_context": {"traceparent": "00"}}},
        {"options": {"trace_context": {"baggage": "trace=none"}}},
    ]
    for n, options in enumerate(carriers):
        message: dramatiq.Message[None] = dramatiq.Message("default", "record", (n,), {}, options)
        broker.enqueue(message)
        wait_for_spans(spans, n + 1, "work")
    broker.close()
    found = wait_for_spans(spans, len(carriers), "work")
    assert [span["trace_id"] == trace_id(0) for span in found] == [True, True, True, True, False]


def test_an_async_actor_runs_in_its_events_trace(
    stream: StreamFeed, redis_server: Redis, new_bridge: Bridges, new_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    """It runs in another thread, the worker's event loop, and has the trace of its message there."""
    spans = tmp_path / "spans"
    route = {"actor": "record_async", "args": ["$payload.n"]}
    new_bridge({**stream.config(redis_server, route), "tracing": {"propagate": ["w3c"]}}).ready()
    traced_worker(new_worker, redis_server, "w3c", spans)
    for n in range(4):
        publish(stream, n, traced=n % 2 == 0)
    found = {span["attributes"]["n"]: span for span in wait_for_spans(spans, 4, "work")}
    assert [found[n]["trace_id"] == trace_id(n) for n in range(4)] == [True, False, True, False]
    assert len({span["trace_id"] for span in found.values()}) == 4


@pytest.mark.parametrize("form", FORMS)
def test_a_pipelines_next_step_runs_in_its_events_trace(  # noqa: PLR0917 - pytest passes them by name
    form: str,
    stream: StreamFeed,
    redis_server: Redis,
    new_bridge: Bridges,
    new_worker: Callable[..., Worker],
    tmp_path: Path,
) -> None:
    """The worker enqueues it as the bridge has written it; behind it, the steps of an event without a trace have none."""
    spans = tmp_path / "spans"
    settings = config(stream, redis_server, form)
    settings["routes"][0]["options"] = {"pipe_target": {"actor_name": "record"}}
    settings["routes"][0]["kwargs"] = {}
    new_bridge(settings).ready()
    traced_worker(new_worker, redis_server, form, spans)
    name = "transaction" if form == "sentry" else "work"
    publish(stream, 0, traced=True)
    wait_for_spans(spans, 2, name)
    publish(stream, 1, traced=False)
    found = wait_for_spans(spans, 4, name)
    numbers = [span["n"] if form == "sentry" else span["attributes"]["n"] for span in found]
    assert numbers == [0, 100, 1, 101]
    assert [span["trace_id"] == trace_id(0) for span in found] == [True, True, False, False]


def test_all_forms_go_side_by_side(stream: StreamFeed, redis_server: Redis, new_bridge: Bridges) -> None:
    """A fleet of workers may have several of the packages; unsampled traces go on as unsampled ones."""
    new_bridge(config(stream, redis_server, *FORMS)).ready()
    publish(stream, 0, traced=True, flags="00")
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 1, 30, "the message")
        (message,) = queue_messages(client, "default")
    parent = f"00-{trace_id(0)}-{SPAN_ID}-00"
    options = {name: value for name, value in message["options"].items() if name not in {"redis_message_id", "skip"}}
    assert options == {
        "traceparent": parent,
        "tracestate": "vendor=1",
        "_sentry_headers": {"sentry-trace": f"{trace_id(0)}-{SPAN_ID}-0"},
        "options": {"trace_context": {"traceparent": parent, "tracestate": "vendor=1"}},
    }


def test_the_middleware_needs_nothing_else_of_the_bridge() -> None:
    """A worker that imports it loads dramatiq and opentelemetry-api, and none of the bridge's own libraries."""
    program = (
        "import sys, bridge.worker_middleware\n"
        "print(sorted(name for name in sys.modules if name.startswith('bridge')))\n"
        "print(sorted({'msgspec', 'pydantic', 'yaml', 'structlog', 'aiormq', 'paho', 'cbor2'} & sys.modules.keys()))\n"
        "print(any(name.startswith('opentelemetry.sdk') for name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["['bridge', 'bridge.worker_middleware']", "[]", "False"]


@pytest.mark.parametrize("missing", ["dramatiq", "opentelemetry"])
def test_the_middleware_says_which_package_it_misses(missing: str) -> None:
    """At its import, so that a worker without tracing does not start as if it had any."""
    program = f"import sys; sys.modules[{missing!r}] = None; import bridge.worker_middleware"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "bridge.worker_middleware needs dramatiq and opentelemetry-api in the worker" in last
    assert missing in last


def traced_bridge(new_bridge: Bridges, settings: dict[str, Any], tmp_path: Path, **env: str) -> BridgeProcess:
    """Start a bridge in whose environment OpenTelemetry is set up; its spans go to the file `spans`."""
    env = {**span_file.exporter_environment(tmp_path / "site", tmp_path / "spans"), **env}
    return new_bridge(settings, env=env).ready()


def by_name(spans: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the spans by their names, without the source's or the queue's."""
    found: dict[str, list[dict[str, Any]]] = {}
    for span in spans:
        found.setdefault(span["name"].split()[0], []).append(span)
    return found


def test_a_trace_has_the_receipt_the_write_and_the_actor(
    stream: StreamFeed, redis_server: Redis, new_bridge: Bridges, new_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    """In a bridge with OpenTelemetry's SDK: publisher -> receive -> enqueue -> actor, each the child of the one before.

    Events without a trace, and those that are not sampled, have no spans of the bridge; the last spans are exported at a stop.
    """
    bridge = traced_bridge(new_bridge, config(stream, redis_server, "w3c"), tmp_path, OTEL_BSP_SCHEDULE_DELAY="3600000")
    traced_worker(new_worker, redis_server, "w3c", tmp_path / "spans")
    publish(stream, 0, traced=True)
    publish(stream, 1, traced=False)
    publish(stream, 2, traced=True, flags="00")
    wait_for_spans(tmp_path / "spans", 2, "work")
    bridge.terminate()
    assert bridge.wait() == 0
    spans = by_name([span for span in span_file.read(tmp_path / "spans") if span["trace_id"] == trace_id(0)])
    ((receive,), (enqueue,), (work,)) = spans["receive"], spans["enqueue"], spans["work"]
    assert (receive["name"], receive["kind"], receive["parent_id"]) == ("receive feed", "CONSUMER", SPAN_ID)
    assert (enqueue["name"], enqueue["kind"], enqueue["parent_id"]) == (
        "enqueue default",
        "PRODUCER",
        receive["span_id"],
    )
    assert (work["parent_id"], work["state"]) == (enqueue["span_id"], "vendor=1")
    assert receive["attributes"] == {
        "messaging.system": "redis-stream",
        "messaging.operation.name": "receive",
        "messaging.operation.type": "receive",
        "messaging.destination.name": stream.name,
        "messaging.destination.subscription.name": "feed",
        "messaging.message.body.size": len(b'{"n": 0}'),
    }
    assert enqueue["attributes"] == {
        "messaging.system": "dramatiq",
        "messaging.operation.name": "enqueue",
        "messaging.operation.type": "send",
        "messaging.destination.name": "default",
        "dramatiq_bridge.outcome": "written",
    }
    assert (enqueue["status"], enqueue["service"]) == ("UNSET", "dramatiq-bridge")
    own = [span for span in span_file.read(tmp_path / "spans") if span["service"] == "dramatiq-bridge"]
    assert len(own) == 2


@pytest.mark.parametrize("processes", [1, 2])
def test_opentelemetrys_own_command_runs_a_bridge(
    processes: int, stream: StreamFeed, redis_server: Redis, tmp_path: Path
) -> None:
    """`opentelemetry-instrument dramatiq-bridge run` has the same spans; SIGTERM drains it, though a thread came before it."""
    bridge = BridgeProcess(config(stream, redis_server, "w3c", processes=processes))
    env = {
        **os.environ,
        **span_file.exporter_environment(tmp_path / "site", tmp_path / "spans"),
        "OTEL_SERVICE_NAME": "b",
    }
    program = Path(sys.executable).with_name("opentelemetry-instrument")
    command = [str(program), sys.executable, "-m", "bridge", "run", str(bridge.path), "--log-format", "json"]
    log = tmp_path / "log"
    with ExitStack() as ends:
        ends.callback(bridge.close)
        output = ends.enter_context(log.open("wb"))
        child = Child(command, env=env, stderr=output, stdout=output)
        ends.callback(child.kill)
        wait_until(lambda: '"bridge.ready"' in log.read_text(), 60, "a bridge that is ready")
        publish(stream, 0, traced=True)
        wait_for_spans(tmp_path / "spans", 2, "receive feed", "enqueue default")
        publish(stream, 1, traced=True)
        with redis_server.client() as client:
            wait_until(lambda: client.llen("dramatiq:default") == 2, 30, "both messages")
        child.signal(SIGTERM)
        assert child.wait(60) == 0, log.read_text()
    assert '"bridge.stopped"' in log.read_text()
    assert {span["trace_id"] for span in span_file.read(tmp_path / "spans")} == {trace_id(0), trace_id(1)}
