"""Rules and dashboard in a real Prometheus that scrapes a real bridge."""

from __future__ import annotations

from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.support.alerts import RULES_FILE, rules
from tests.support.brokers import Redis
from tests.support.children import free_port, patient, wait_until
from tests.support.dashboard import queries
from tests.support.processes import Bridges
from tests.support.prometheus import Prometheus, prometheus
from tests.support.runbook import has_row

#: Panels of which a query shows nothing while all is well.
_QUIET = {"Dead letters by reason", "Paused or stuck", "Events on the disk", "Starts"}
_READY, _SINK = "DramatiqBridgeNotReady", "DramatiqBridgeSinkUnavailable"
_QUEUE, _MISSED = "DramatiqBridgeQueueNotConsumed", "DramatiqBridgeEventsMissed"


def test_every_expression_has_data_and_an_outage_is_seen(
    redis_server: Redis, new_redis: Callable[..., Redis], new_bridge: Bridges, prometheus_program: Callable[[str], str],
    tmp_path: Path,
) -> None:  # fmt: skip
    """Prometheus evaluates them all, and the alerts of an outage of Redis begin, and end with it; the runbook has its causes."""
    program, sink, port = prometheus_program("prometheus"), new_redis(), free_port()
    config = {
        "dramatiq": {"url": sink.url},
        "sources": {"signups": {"type": "redis-pubsub", "url": redis_server.url, "channels": ["signups"]}},
        "routes": [{"from": "signups", "actor": "welcome", "args": ["$payload.n"]}],
        "admin": {"listen": f"127.0.0.1:{port}"},
    }
    new_bridge(config).ready()
    with prometheus(program, tmp_path, port, rules=RULES_FILE, evaluation_interval="200ms") as server:
        wait_until(lambda: server.value("dramatiq_bridge_queue_messages{state='waiting'}") == 0, what="a scrape")
        with redis_server.client() as client:
            for number in range(5):
                client.publish("signups", f'{{"n": {number}}}')
        wait_until(lambda: server.value("rate(dramatiq_bridge_events_enqueued_total[1m]) > 0"), what="a rate")
        _evaluates_all(server)
        # No worker takes the five messages; all else is well.
        wait_until(lambda: _firing(server) == {_QUEUE}, what="the queue's alert alone")
        with redis_server.client() as client:
            assert client.client_kill_filter(_type="pubsub")
        wait_until(lambda: _MISSED in _firing(server), what="the alert of a gap")
        assert server.value("dramatiq_bridge_source_gaps_total") == 1
        sink.stop()
        wait_until(lambda: {_READY, _SINK} <= _firing(server), what="both alerts")
        first, *causes = _readyz(port)
        assert first == "not ready"
        assert causes
        assert all(map(has_row, causes)), causes
        sink.start()
        wait_until(lambda: not _firing(server) & {_READY, _SINK}, what="their end")


def _evaluates_all(server: Prometheus) -> None:
    """Every rule was evaluated without an error; every query of the dashboard has data, of this bridge."""
    wait_until(lambda: all(rule["health"] == "ok" for rule in _rules(server)), what="an evaluation of every rule")
    assert [rule["name"] for rule in _rules(server)] == [rule["alert"] for rule in rules()]
    for title, expression, _ in queries():
        result = server.result(expression)
        assert result or title in _QUIET, f"{title}: {expression} has no data"


def _readyz(port: int) -> list[str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=patient(10))
    connection.request("GET", "/readyz")
    return connection.getresponse().read().decode().splitlines()


def _rules(server: Prometheus) -> list[dict[str, Any]]:
    return [rule for group in server.ask("rules").get("groups", []) for rule in group["rules"]]


def _firing(server: Prometheus) -> set[str]:
    """Return the alerts that fire, or will once their `for` is over."""
    return {each["labels"]["alertname"] for each in server.ask("alerts").get("alerts", [])}
