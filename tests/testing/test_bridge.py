"""`bridge.testing`: an event reaches the actor of a real Dramatiq application, and the actor runs."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker

from bridge.testing import Bridge, NotDelivered
from tests.app.calls import CALLS
from tests.support.brokers import Redis
from tests.support.children import REPOSITORY

EXAMPLES: Final = REPOSITORY / "config/examples"
TELEMETRY: Final[dict[str, Any]] = {"from": "fleet", "topic": "fleet/d-1/telemetry", "payload": {"celsius": 90}}


@pytest.fixture
def fleet() -> Iterator[StubBroker]:
    """The broker of the fleet's application, with a worker."""
    broker: StubBroker = importlib.import_module("tests.app.iot_fleet").broker
    broker.flush_all()
    CALLS.clear()
    worker = dramatiq.Worker(broker, worker_timeout=100)
    worker.start()
    yield broker
    worker.stop()


def test_an_event_reaches_its_actors_and_they_run(fleet: StubBroker) -> None:
    """Through the routes of the file, as messages of Dramatiq, into its own StubBroker."""
    made = Bridge(EXAMPLES / "iot-fleet.yaml").deliver(fleet, TELEMETRY)
    assert [(one.route, one.queue) for one in made] == [("telemetry", "telemetry"), ("overheating", "alarms")]
    for queue in ("telemetry", "alarms"):
        fleet.join(queue, timeout=10_000)
    assert sorted(CALLS, key=str) == [
        ("raise_alarm", [], {"device": "d-1", "celsius": 90, "severity": "high"}),
        ("store_telemetry", ["d-1", {"celsius": 90}], {}),
    ]


def test_a_delayed_message_waits_for_its_time(fleet: StubBroker) -> None:
    """With a `now` in the past it is due at once."""
    event = {"from": "fleet", "topic": "fleet/d-1/status", "payload": {"online": False}}
    (made,) = Bridge(EXAMPLES / "iot-fleet.yaml").deliver(fleet, event, now_ms=1_000)
    assert made.options["eta"] == 1_000 + 300_000
    fleet.join("default", timeout=10_000)
    assert CALLS == [("check_device", ["d-1"], {})]


def test_each_message_has_an_id_of_its_own(fleet: StubBroker) -> None:
    """A result backend keeps results by it: two events must not share one."""
    bridge = Bridge(EXAMPLES / "iot-fleet.yaml")
    ids = {one.options["redis_message_id"] for _ in range(2) for one in bridge.deliver(fleet, TELEMETRY)}
    assert len(ids) == 4


def test_what_reaches_no_actor_says_why() -> None:
    """The test fails with the explanation of every route."""
    bridge = Bridge(EXAMPLES / "iot-fleet.yaml")
    with pytest.raises(NotDelivered, match=r"(?s)no route fits.*route gone: when: `payload.online == False` is false"):
        bridge.deliver(StubBroker(), {"from": "fleet", "topic": "fleet/d-1/status", "payload": {"online": True}})
    with pytest.raises(NotDelivered, match=r"dead letter.*\n.*route overheating: when: '>' can't compare text"):
        bridge.deliver(StubBroker(), {**TELEMETRY, "payload": {"celsius": "hot"}})
    with pytest.raises(NotDelivered, match="the bridge does not subscribe to this topic"):
        bridge.deliver(StubBroker(), {"from": "fleet", "topic": "elsewhere"})
    assert bridge.route({"from": "fleet", "topic": "elsewhere"}) == []


@pytest.mark.parametrize(
    ("route", "says"),
    [
        ("actor: store_telemtry", "no actor 'store_telemtry'; did you mean 'store_telemetry'?"),
        ("actor: store_telemetry", "the actor store_telemetry is on the queue telemetry, the message on default"),
        ("actor: check_device, options: {on_failure: nobody}", "no actor 'nobody'"),
        ("actor: check_device, options: {pipe_target: {actor_name: nobody}}", "no actor 'nobody'"),
        (
            "actor: check_device, options: {pipe_target: {actor_name: raise_alarm}}",
            "the actor raise_alarm is on the queue alarms, the message on default",
        ),
    ],
)
def test_a_message_that_no_worker_would_run(route: str, says: str, fleet: StubBroker, tmp_path: Path) -> None:
    """It fails at once, and the messages of the other routes are not left behind in the broker."""
    (tmp_path / "bridge.yaml").write_text(
        "sources: {s: {type: redis-pubsub, url: redis://h, channels: [c]}}\n"
        f"routes:\n  - {{from: s, actor: raise_alarm, queue: alarms}}\n  - {{from: s, name: other, {route}}}\n"
    )
    with pytest.raises(NotDelivered, match=f"route other: .*{re.escape(says)}"):
        Bridge(tmp_path / "bridge.yaml").deliver(fleet, {"from": "s", "topic": "c", "payload": 1})
    assert fleet.queues["alarms"].qsize() == 0
    assert CALLS == []


def test_a_broker_with_workers_gets_nothing(redis_server: Redis) -> None:
    """A test must not make an application's workers work."""
    with pytest.raises(TypeError, match="this is a RedisBroker: its workers would run the messages of the test"):
        Bridge(EXAMPLES / "iot-fleet.yaml").deliver(RedisBroker(url=redis_server.url), TELEMETRY)
    with redis_server.client() as client:
        assert client.keys() == []


def test_a_broker_without_actors_says_so() -> None:
    """It was set after the import of the actors, or not at all."""
    with pytest.raises(NotDelivered, match="it has none: set it before the module with the actors is imported"):
        Bridge(EXAMPLES / "iot-fleet.yaml").deliver(StubBroker(), TELEMETRY)


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({"from": "flet"}, "no source is named 'flet'; there are fleet"),
        ({"from": "fleet", "payload": 1, "body": "1"}, "event.body: an event has one body"),
        ({"from": "fleet", "topic": "a", "headers": {"n": 5}}, "event.headers.n: takes text, not a number"),
        ({"from": "fleet", "topics": "a"}, "event.topics: unknown key 'topics'; did you mean 'topic'?"),
        ({}, "the key 'from' is missing"),
        (None, "an event is a mapping, as in tests:, not null"),
        ({**TELEMETRY, "payload": {"celsius": float("nan")}}, "event.payload: JSON can't hold it: Out of range float"),
        ({**TELEMETRY, "payload": b"x"}, "event.payload: JSON can't hold it: .*bytes go into payload_base64"),
    ],
)
def test_an_event_with_mistakes(event: Any, says: str) -> None:
    """The same words as in `tests:`."""
    with pytest.raises(ValueError, match=says):
        Bridge(EXAMPLES / "iot-fleet.yaml").route(event)


def test_the_plugin_in_an_application_of_its_own(tmp_path: Path) -> None:
    """As its developers would use it: pytest finds the fixture by itself, and the file by its own configuration."""
    (tmp_path / "tasks.py").write_text(
        "import dramatiq\nfrom dramatiq.brokers.stub import StubBroker\n"
        "broker = StubBroker()\ndramatiq.set_broker(broker)\ncalls = []\n"
        "@dramatiq.actor\ndef greet(name):\n    calls.append(name)\n"
    )
    (tmp_path / "config").mkdir()
    (tmp_path / "config/bridge.yaml").write_text(
        "sources: {s: {type: redis-pubsub, url: '${REDIS_URL}', channels: [c]}}\n"
        "routes: [{from: s, actor: greet, args: [$payload.name]}]\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\ndramatiq_bridge_config = config/bridge.yaml\n")
    (tmp_path / "test_tasks.py").write_text(
        "import dramatiq\nfrom tasks import broker, calls\n\n"
        "def test_greet(dramatiq_bridge):\n"
        "    worker = dramatiq.Worker(broker, worker_timeout=100)\n    worker.start()\n"
        "    dramatiq_bridge.deliver(broker, {'from': 's', 'topic': 'c', 'payload': {'name': 'Ada'}})\n"
        "    broker.join('default', timeout=10000)\n    worker.stop()\n    assert calls == ['Ada']\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
