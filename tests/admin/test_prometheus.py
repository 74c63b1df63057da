"""A real Prometheus scrapes the server, and its own tool finds nothing to complain of."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

from bridge.admin import metrics
from bridge.model.state import QueueState
from tests.support.admin import FakeBridge, serving, state_of
from tests.support.broker import find_program
from tests.support.children import Child, free_port, patient, wait_until

CONFIG: Final = """\
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
  - job_name: bridge
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@pytest.fixture
def find() -> Callable[[str], str]:
    """Return the path of a program of Prometheus's; without it the test is skipped, and with CI=true it fails."""

    def path_of(name: str) -> str:
        program = find_program(name)
        if program is None:
            reason = f"{name} is not installed (`make brokers` installs it where apt may be used)"
            if os.environ.get("CI") == "true":
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)
        return program

    return path_of


def test_promtool_has_no_complaint(find: Callable[[str], str]) -> None:
    """Names, units, types and help follow Prometheus's own conventions."""
    body, _ = asyncio.run(metrics.render(state_of(), openmetrics=False))
    command = [find("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=body, capture_output=True, timeout=patient(20), check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_promtool_would_complain(find: Callable[[str], str]) -> None:
    """Otherwise the test above shows nothing."""
    wrong = b"# TYPE some_counter counter\nsome_counter 1\n"
    command = [find("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=wrong, capture_output=True, timeout=patient(20), check=False)
    assert done.returncode != 0


@contextmanager
def _prometheus(program: str, directory: Path, target: int) -> Iterator[int]:
    """Run a Prometheus that scrapes a port of this machine, and yield its own port."""
    port = free_port()
    config = directory / "prometheus.yml"
    config.write_text(CONFIG.format(port=target))
    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (directory / "log").open("wb") as log:
        child = Child(command, env=dict(os.environ), cwd=directory, stdout=log)
    try:
        yield port
    finally:
        child.end(patient(5))


def _ask(port: int, path: str) -> Any:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=patient(5)) as reply:
            return json.load(reply)["data"]
    except OSError:
        return {}


def _value(port: int, query: str) -> float | None:
    results = _ask(port, f"query?query={quote(query)}").get("result", [])
    return float(results[0]["value"][1]) if results else None


@pytest.mark.parametrize("queues", [{"default": QueueState(waiting=9)}, {}], ids=["queues", "no-queues"])
def test_a_prometheus_scrapes_it(queues: dict[str, QueueState], tmp_path: Path, find: Callable[[str], str]) -> None:
    """The target is up, without an error, and the numbers arrive: counters, gauges and histograms."""
    program = find("prometheus")

    async def scenario() -> None:
        async with serving(FakeBridge(state_of(queues=queues))) as client:
            await asyncio.to_thread(scraped, client.settings.port)

    def scraped(target: int) -> None:
        with _prometheus(program, tmp_path, target) as port:
            wait_until(lambda: _value(port, "up") == 1, what="a scrape that succeeds")
            assert _value(port, 'dramatiq_bridge_events_received_total{source="orders"}') == 100
            assert _value(port, 'dramatiq_bridge_events_dead_lettered_total{reason="decode"}') == 7
            assert _value(port, 'dramatiq_bridge_window_fill_ratio{source="orders"}') == 0.005
            assert _value(port, "dramatiq_bridge_enqueue_duration_seconds_count") == 1
            assert _value(port, "histogram_quantile(0.5, dramatiq_bridge_event_age_seconds_bucket)") is not None
            assert _value(port, "dramatiq_bridge_queue_messages{state='waiting'}") == (9 if queues else None)
            targets = _ask(port, "targets")["activeTargets"]
            assert [(each["health"], each["lastError"]) for each in targets] == [("up", "")]
            described = _ask(port, "metadata?metric=dramatiq_bridge_ready")["dramatiq_bridge_ready"]
            assert described[0]["help"].startswith("1 if the bridge is ready")

    asyncio.run(scenario())
