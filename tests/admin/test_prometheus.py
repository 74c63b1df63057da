"""A real Prometheus scrapes the server, and its own tool finds nothing to complain of."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.admin import exposition
from bridge.model.state import QueueState
from tests.support.admin import FakeBridge, serving, state_of
from tests.support.children import patient, wait_until
from tests.support.prometheus import prometheus


def test_promtool_has_no_complaint(prometheus_program: Callable[[str], str]) -> None:
    """Names, units, types and help follow Prometheus's own conventions."""
    body, _ = asyncio.run(exposition.render(state_of(), openmetrics=False))
    command = [prometheus_program("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=body, capture_output=True, timeout=patient(20), check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_promtool_would_complain(prometheus_program: Callable[[str], str]) -> None:
    """Otherwise the test above shows nothing."""
    wrong = b"# TYPE some_counter counter\nsome_counter 1\n"
    command = [prometheus_program("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=wrong, capture_output=True, timeout=patient(20), check=False)
    assert done.returncode != 0


@pytest.mark.parametrize("queues", [{"default": QueueState(waiting=9)}, {}], ids=["queues", "no-queues"])
def test_a_prometheus_scrapes_it(
    queues: dict[str, QueueState], tmp_path: Path, prometheus_program: Callable[[str], str]
) -> None:
    """The target is up, without an error, and the numbers arrive: counters, gauges and histograms."""
    program = prometheus_program("prometheus")

    async def scenario() -> None:
        async with serving(FakeBridge(state_of(queues=queues))) as client:
            await asyncio.to_thread(scraped, client.settings.port)

    def scraped(target: int) -> None:
        with prometheus(program, tmp_path, target) as server:
            wait_until(lambda: server.value("up") == 1, what="a scrape that succeeds")
            assert server.value('dramatiq_bridge_events_received_total{source="orders"}') == 100
            assert server.value('dramatiq_bridge_events_dead_lettered_total{reason="decode"}') == 7
            assert server.value('dramatiq_bridge_window_fill_ratio{source="orders"}') == 0.005
            assert server.value("dramatiq_bridge_enqueue_duration_seconds_count") == 1
            assert server.value("histogram_quantile(0.5, dramatiq_bridge_event_age_seconds_bucket)") is not None
            assert server.value("dramatiq_bridge_queue_messages{state='waiting'}") == (9 if queues else None)
            targets = server.ask("targets")["activeTargets"]
            assert [(each["health"], each["lastError"]) for each in targets] == [("up", "")]
            described = server.ask("metadata?metric=dramatiq_bridge_ready")["dramatiq_bridge_ready"]
            assert described[0]["help"].startswith("1 if the bridge is ready")

    asyncio.run(scenario())
