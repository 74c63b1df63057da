"""The unit under a real systemd, on each Debian release that the documentation names."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.deploy.real.machine import Machine
from tests.deploy.real.service import Service
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.children import wait_until
from tests.support.feeds import AmqpFeed, Feed, MqttFeed, PubsubFeed, StreamFeed
from tests.support.processes import Worker, queue_messages
from tests.support.source_sets import SourceSet

UNITS = pytest.mark.parametrize("unit", ["dramatiq-bridge.service", "dramatiq-bridge@plant.service"])

#: The folders of the unit, its own temporary ones, and those that every user of a Debian shares.
ALLOWED = {
    *("/var/lib/private/dramatiq-bridge", "/run/dramatiq-bridge", "/run/private/dramatiq-bridge"),
    *("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run/lock"),
}


@pytest.fixture
def feeds(redis_server: Redis, mosquitto: Mosquitto, rabbitmq: RabbitMQ) -> dict[str, Feed]:
    """One of each kind."""
    made: list[Feed] = [AmqpFeed(rabbitmq), MqttFeed(mosquitto), PubsubFeed(redis_server), StreamFeed(redis_server)]
    for feed in made:
        feed.prepare()
    return {feed.kind: feed for feed in made}


@pytest.fixture
def sources(redis_server: Redis, feeds: dict[str, Feed]) -> SourceSet:
    """All of them as sources of one bridge."""
    return SourceSet(redis_server, {kind: (feed, {}) for kind, feed in feeds.items()})


@pytest.fixture
def running(service: Service, sources: SourceSet) -> Service:
    """A bridge of two processes with all sources, which is ready."""
    service.configure({**sources.config, "processes": 2})
    service.ctl("start")
    return service


@UNITS
def test_the_unit_is_restricted(machine: Machine, unit: str) -> None:
    """Its exposure is 1.2 at most, and systemd has no complaint about it."""
    assert machine.do(f"systemd-analyze verify {unit}") == ""
    machine.do(f"systemd-analyze security --no-pager --threshold=12 {unit}")


def test_every_source_works_in_two_processes(
    running: Service, sources: SourceSet, redis_server: Redis, new_worker: Callable[..., Worker]
) -> None:
    """A start returns once the bridge is ready; its processes run uvloop, and Dramatiq's worker gets each event."""
    assert running.show("StatusText") == "running"
    assert len(running.processes()) == 2
    for pid in running.processes():
        assert "uvloop" in running.machine.do(f"cat /proc/{pid}/maps")
        assert "SCHED_BATCH" in running.machine.do(f"chrt --pid {pid}")
    sources.publish(200)
    found = sources.wait()
    assert {kind: len(numbers) for kind, numbers in found.items()} == dict.fromkeys(found, 200)
    worker = new_worker(redis_server.url_of(0))
    assert len(worker.wait_for(800)) == 800
    running.ctl("stop")
    assert running.show("Result") == "success"


def test_what_the_unit_forbids_is_forbidden(running: Service) -> None:
    """Each process has no capability and no new privileges, filters its system calls, and finds no file that it may write but in its own folders."""
    for pid in [int(running.show("MainPID")), *running.processes()]:
        status = running.machine.do(f"cat /proc/{pid}/status")
        found = dict(line.split(":\t", 1) for line in status.splitlines())
        assert {found["CapEff"], found["CapBnd"], found["CapPrm"]} == {"0" * 16}
        assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
        user = running.machine.do(f"stat --format '--reuid=%u --regid=%g' /proc/{pid}").strip()
        find = "find / -path /proc -prune -o ( -type d -o -type f ) -writable -print -prune"
        inside = f"nsenter --target {pid} --mount setpriv --clear-groups {user}"
        writable = set(running.machine.run(f"{inside} {shlex.join(find.split())} 2>/dev/null").stdout.split())
        assert "/var/lib/private/dramatiq-bridge" in writable
        assert writable <= ALLOWED


def test_the_commands_work_by_the_socket(running: Service, sources: SourceSet) -> None:
    """Root sees and steers the bridge; another user is told who may."""
    machine = running.machine
    machine.do("dramatiq-bridge pause amqp && dramatiq-bridge resume amqp")
    over = threading.Event()

    def publish() -> None:
        while not over.wait(0.2):
            sources.publish(1)

    publishing = threading.Thread(target=publish)
    publishing.start()
    try:
        assert "record" in machine.do("dramatiq-bridge tap --limit 3")
    finally:
        over.set()
        publishing.join()
    assert "dramatiq-bridge" in machine.do(
        "dramatiq-bridge graph --live /etc/dramatiq-bridge/bridge.yaml; dramatiq-bridge status"
    )
    stranger = machine.run("setpriv --reuid=65534 --clear-groups dramatiq-bridge status")
    assert stranger.returncode == 1
    assert "only the bridge's user and root may" in stranger.stdout


def test_a_reload_is_over_when_it_returns(running: Service, sources: SourceSet, redis_server: Redis) -> None:
    """Systemctl reload returns once the new file is in use, and no event is lost on the way."""
    config = {**sources.config, "processes": 2}
    for version in range(3):
        sources.publish(50)
        config["routes"] = [{**route, "kwargs": {"version": version}} for route in config["routes"]]
        running.configure(config)
        running.ctl("reload")
        assert running.show("SubState") == "running"
        sources.publish(1)
        sources.wait()
        with redis_server.client() as client:
            last = {message["args"][0]: message for message in queue_messages(client, "default")}
        assert [message["kwargs"] for message in last.values()] == [{"version": version}] * len(last)
    running.machine.do("dramatiq-bridge reload --wait")
    assert running.show("SubState") == "running"


def test_a_reload_of_a_wrong_file_fails(running: Service, sources: SourceSet) -> None:
    """Systemctl reload fails, the journal names the mistake with its place, and the bridge runs on."""
    running.machine.write(running.path, "sources: {}\nroutes: 7\n")
    assert running.try_to("reload").returncode != 0
    assert any(line.startswith(f"{running.path}:2:9: routes: takes a list, not a number") for line in running.journal())
    assert (running.show("ActiveState"), running.show("SubState")) == ("active", "running")
    sources.publish(50)
    sources.wait()


def test_a_stop_under_load_loses_nothing(running: Service, feeds: dict[str, Feed], sources: SourceSet) -> None:
    """A stop finishes the received events: each is in Redis, or still at its broker."""
    sources.publish(100)
    sources.wait()
    over = threading.Event()
    published: dict[str, int] = {}

    def publish(kind: str, feed: Feed) -> None:
        number = 100
        while not over.is_set():
            feed.publish_numbers(*range(number, number + 50))
            number += 50
        published[kind] = number

    steady = {kind: feed for kind, feed in feeds.items() if feed.redelivers}
    threads = [threading.Thread(target=publish, args=item) for item in steady.items()]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: all(len(numbers) > 1000 for kind, numbers in sources.found().items() if kind in steady))
        running.ctl("stop")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert running.show("Result") == "success"
    stopped: dict[str, Any] = running.logs("bridge.stopped")[-1]
    assert stopped["lost"] == 0
    assert stopped["received"] == stopped["enqueued"] + stopped["returned"]
    running.ctl("start")
    found = {}

    def all_there() -> bool:
        found.update({kind: set(numbers) for kind, numbers in sources.found().items() if kind in steady})
        return all(len(found[kind]) >= published[kind] for kind in steady)

    wait_until(all_there, 60, "all events")
    assert found == {kind: set(range(published[kind])) for kind in steady}
