"""The unit under a real systemd when something breaks: processes, the file, brokers, time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.deploy.real.service import Service
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.children import wait_until
from tests.support.feeds import AmqpFeed, Feed, MqttFeed, PubsubFeed, StreamFeed
from tests.support.processes import written_numbers

PROCESSES = pytest.mark.parametrize("processes", [1, 2])


@pytest.fixture
def feed(rabbitmq: RabbitMQ) -> AmqpFeed:
    """A queue."""
    feed = AmqpFeed(rabbitmq)
    feed.prepare()
    return feed


def numbers(sink: Redis) -> set[int]:
    """Return the events that are written."""
    return set(written_numbers(sink))


def wait_for_numbers(sink: Redis, *expected: int) -> None:
    """Wait until these events are written."""
    wait_until(lambda: numbers(sink) >= set(expected), 60, f"{len(expected)} events")
    assert numbers(sink) == set(expected)


def test_a_process_that_is_killed_is_replaced(service: Service, feed: AmqpFeed, redis_server: Redis) -> None:
    """The bridge starts it again; systemd sees one service that runs on."""
    service.configure({**feed.config(redis_server), "processes": 2})
    service.ctl("start")
    main = service.show("MainPID")
    feed.publish_numbers(*range(5000))
    first, second = service.processes()
    service.machine.do(f"kill -KILL {second}")
    wait_for_numbers(redis_server, *range(5000))
    wait_until(lambda: len(service.processes()) == 2 and second not in service.processes(), 60, "another process")
    assert first in service.processes()
    assert (service.show("MainPID"), service.show("NRestarts")) == (main, "0")


@PROCESSES
def test_a_bridge_that_is_killed_is_started_again(
    service: Service, feed: AmqpFeed, redis_server: Redis, processes: int
) -> None:
    """Its processes end with it, and all its events come again."""
    service.configure({**feed.config(redis_server), "processes": processes})
    service.ctl("start")
    feed.publish_numbers(*range(5000))
    service.machine.do(f"kill -KILL {service.show('MainPID')}")
    feed.publish_numbers(*range(5000, 5100))
    service.wait_for("NRestarts", "1")
    service.wait_for("ActiveState", "active")
    wait_for_numbers(redis_server, *range(5100))


@PROCESSES
def test_the_watchdog_restarts_a_bridge_that_hangs(
    service: Service, feed: AmqpFeed, redis_server: Redis, processes: int
) -> None:
    """A bridge that gives no sign for WatchdogSec is killed and started again."""
    service.drop_in("[Service]\nWatchdogSec=3\n")
    service.configure({**feed.config(redis_server), "processes": processes})
    service.ctl("start")
    service.machine.do(f"kill -STOP {service.show('MainPID')}")
    feed.publish_numbers(*range(100))
    service.wait_for("NRestarts", "1")
    service.wait_for("ActiveState", "active")
    assert any("Watchdog timeout" in line for line in service.journal())
    wait_for_numbers(redis_server, *range(100))


def test_a_wrong_file_stops_the_unit_with_its_mistakes(service: Service, feed: AmqpFeed, redis_server: Redis) -> None:
    """No restart would help: the unit has failed, and its status shows each mistake with its place."""
    service.configure("sources: {}\nroutes: 7\n")
    assert service.try_to("start").returncode != 0
    assert service.show("ActiveState") == "failed"
    assert (service.show("ExecMainStatus"), service.show("NRestarts")) == ("78", "0")
    status = service.try_to("status --no-pager").stdout
    assert f"{service.path}:2:9: routes: takes a list, not a number" in status
    service.configure(feed.config(redis_server))
    service.ctl("start")


def test_a_check_before_the_start_would_be_repeated(service: Service) -> None:
    """This is why the unit has no ExecStartPre=dramatiq-bridge check: systemd restarts it, whatever its exit code."""
    service.configure("sources: {}\nroutes: 7\n")
    program = "/opt/dramatiq-bridge/current/bin/dramatiq-bridge"
    service.drop_in(f"[Service]\nExecStartPre={program} check {service.path}\nRestartSec=100ms\n")
    assert service.try_to("start").returncode != 0
    wait_until(lambda: int(service.show("NRestarts")) >= 2, 60, "restarts")


def test_a_bridge_waits_for_brokers_that_start_later(
    service: Service, new_redis: Callable[..., Redis], new_mosquitto: Callable[..., Mosquitto]
) -> None:
    """It is starting, however long, and ready once they are there; it is not restarted."""
    sink, broker = new_redis(appendonly=True), new_mosquitto()
    feed = MqttFeed(broker)
    feed.prepare()
    feed.publish_numbers(*range(10))
    sink.stop()
    broker.stop()
    service.drop_in("[Service]\nTimeoutStartSec=5\n")
    service.configure(feed.config(sink))
    began = time.monotonic()
    service.ctl("start --no-block")
    wait_until(lambda: time.monotonic() - began > 7, 30, "more time than TimeoutStartSec")
    assert (service.show("ActiveState"), service.show("NRestarts")) == ("activating", "0")
    broker.start()
    sink.start()
    service.wait_for("ActiveState", "active")
    wait_for_numbers(sink, *range(10))


@PROCESSES
def test_a_stop_while_a_broker_is_away(
    service: Service, redis_server: Redis, new_mosquitto: Callable[..., Mosquitto], processes: int
) -> None:
    """It ends well, and at once."""
    broker = new_mosquitto()
    feed = MqttFeed(broker)
    service.configure({**feed.config(redis_server), "processes": processes})
    service.ctl("start")
    broker.kill()
    service.wait_for_log("source.disconnected")
    service.ctl("stop")
    assert service.show("Result") == "success"


def test_brokers_on_the_machine_stop_later(service: Service, feed: AmqpFeed, new_redis: Callable[..., Redis]) -> None:
    """At a shutdown the bridge finishes its events while they still run."""
    sink, broker = new_redis(), "/run/systemd/system/redis-server.service"
    service.machine.write(broker, "[Service]\nExecStart=sleep infinity\n")
    service.configure({**feed.config(sink), "drain_timeout": "3s"})
    service.machine.do(f"systemctl daemon-reload; systemctl start redis-server {service.unit}")
    sink.pause()
    feed.publish_numbers(*range(10))
    wait_until(lambda: feed.unacknowledged() == 10, 60, "the events")
    service.machine.do(f"systemctl stop {service.unit} redis-server; rm {broker}; systemctl daemon-reload")
    journal = service.machine.do("journalctl --output cat --no-pager")
    assert journal.index("Stopped dramatiq-bridge.service") < journal.index("Stopping redis-server.service")


def test_a_stop_may_take_as_long_as_the_file_says(
    service: Service, feed: AmqpFeed, new_redis: Callable[..., Redis]
) -> None:
    """The bridge asks systemd for a longer drain_timeout than TimeoutStopSec= leaves; its broker has the events."""
    sink = new_redis()
    service.drop_in("[Service]\nTimeoutStopSec=2\n")
    service.configure({**feed.config(sink), "drain_timeout": "6s"})
    service.ctl("start")
    sink.pause()
    feed.publish_numbers(*range(10))
    wait_until(lambda: feed.unacknowledged() == 10, 60, "the events")
    service.ctl("stop")
    assert service.show("Result") == "success"
    assert any("bridge.stopped" in line for line in service.journal())
    assert feed.unacknowledged() == 10


def test_the_spool_is_in_the_state_directory(
    service: Service, redis_server: Redis, new_redis: Callable[..., Redis]
) -> None:
    """In an outage of Redis events wait there, also over a stop and a start, and nobody else may read them."""
    sink = new_redis(appendonly=True)
    feed: Feed = PubsubFeed(redis_server)
    spool = {"directory": "/var/lib/dramatiq-bridge/spool"}
    config: dict[str, Any] = {**feed.config(sink), "spool": spool}
    service.configure(config)
    service.ctl("start")
    sink.kill()
    feed.publish_numbers(*range(500))
    kept = f"find {spool['directory']}/ -type f -size +8k"
    wait_until(lambda: service.machine.run(kept).stdout, 60, "events in the spool")
    feed.publish_numbers(*range(500, 1000))
    service.ctl("stop")
    assert service.show("Result") == "success"
    assert service.logs("bridge.stopped")[-1]["lost"] == 0
    assert service.machine.do("stat --format %a /var/lib/private/dramatiq-bridge").strip() == "700"
    sink.start()
    service.ctl("start")
    wait_for_numbers(sink, *range(1000))


def test_bridges_run_side_by_side(service: Service, redis_server: Redis) -> None:
    """Each instance of dramatiq-bridge@ has its own file, socket, state and user, and its own mistakes."""
    feeds, services = [], []
    for name in ("plant-1", "plant-2"):
        feed, instance = StreamFeed(redis_server), Service(service.machine, name)
        feed.prepare()
        spool = {"directory": f"/var/lib/{instance.name}/spool"}
        instance.configure({**feed.config(redis_server), "spool": spool})
        instance.ctl("start")
        feeds.append(feed)
        services.append(instance)
    first, second = services
    users = {instance.machine.do(f"stat --format %u /proc/{instance.show('MainPID')}") for instance in services}
    assert len(users) == 2
    feeds[0].publish_numbers(*range(100))
    feeds[1].publish_numbers(*range(100, 200))
    wait_for_numbers(redis_server, *range(200))
    for instance in services:
        status = f"dramatiq-bridge status --admin unix:/run/{instance.name}/admin.sock"
        assert f"config     {instance.path}" in instance.machine.do(status)
    service.machine.do("systemctl reload 'dramatiq-bridge@*'")
    assert all(instance.logs("bridge.reloaded") for instance in services)
    first.configure("routes: 7\n")
    assert first.try_to("reload").returncode != 0
    assert first.try_to("restart").returncode != 0
    second.ctl("reload")
    assert (first.show("ActiveState"), second.show("ActiveState")) == ("failed", "active")
    second.ctl("stop")
    assert second.show("Result") == "success"
