"""The whole program beside broken neighbours: all four sources and Dramatiq's Redis."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.certificates import Certificates
from tests.support.children import wait_until
from tests.support.neighbours import BLACK, BlackHole, MuteTls, Names
from tests.support.processes import Bridges

KINDS = ("amqp", "mqtt", "pubsub", "stream")


def _config(hosts: str, s: str = "", **settings: Any) -> dict[str, Any]:
    """All four sources and Dramatiq's Redis; `hosts` are those of AMQP, MQTT and Redis, with their ports."""
    amqp, mqtt, redis_ = (
        f"{scheme}{s}://{host}" for scheme, host in zip(("amqp", "mqtt", "redis"), hosts.split(), strict=True)
    )
    sources: dict[str, dict[str, Any]] = {
        "amqp": {"type": "amqp", "url": amqp, "queue": "connecting", "declare": {}},
        "mqtt": {"type": "mqtt", "url": mqtt, "topics": ["connecting"]},
        "pubsub": {"type": "redis-pubsub", "url": redis_, "channels": ["connecting"]},
        "stream": {"type": "redis-stream", "url": redis_, "streams": ["connecting"], "group": "bridge"},
    }
    return {
        "dramatiq": {"url": redis_, **settings},
        "sources": {name: {**source, **deepcopy(settings)} for name, source in sources.items()},
        "routes": [{"from": name, "actor": "record"} for name in sources],
    }


Brokers = tuple[RabbitMQ, Mosquitto, Redis]


@pytest.fixture
def three(rabbitmq: RabbitMQ, mosquitto: Mosquitto, redis_server: Redis) -> Brokers:
    """A broker of each kind."""
    return rabbitmq, mosquitto, redis_server


@pytest.fixture
def black_holes(three: Brokers) -> Iterator[None]:
    """Another address of each broker's port, which swallows every packet."""
    with ExitStack() as ends:
        for broker in three:
            ends.enter_context(BlackHole(broker.port))
        yield


def _hosts(three: Brokers, name: str) -> str:
    return " ".join(f"{name}:{broker.port}" for broker in three)


def test_a_name_with_a_black_hole_among_its_addresses(
    three: Brokers, black_holes: None, either_bridge: Bridges, tmp_path: Path
) -> None:
    """Every source and the sink connect by the name's other address, in the first attempt."""
    names = Names(tmp_path, {"both.test": [BLACK, "127.0.0.1"]})
    bridge = either_bridge(_config(_hosts(three, "both.test")), env=names.env).ready()
    assert not bridge.events("source.unavailable")
    assert not bridge.events("sink.unavailable")
    bridge.terminate()
    assert bridge.wait(25) == 0


def test_a_black_hole_is_named_when_the_attempt_ends(three: Brokers, black_holes: None, either_bridge: Bridges) -> None:
    """With its address and the time; the same words everywhere, and a stop does not wait for it."""
    bridge = either_bridge(_config(_hosts(three, BLACK), connect_timeout="300ms"))
    ports = dict(zip(KINDS, [three[0].port, three[1].port, three[2].port, three[2].port], strict=True))
    for name in KINDS:
        cause = f"no answer from {BLACK}:{ports[name]} within 300ms"
        assert bridge.wait_for("source.unavailable", source=name)["cause"] == cause
    assert bridge.wait_for("sink.unavailable")["cause"] == f"no answer from {BLACK}:{three[2].port} within 300ms"
    bridge.terminate()
    assert bridge.wait(25) == 0


def test_names_that_are_never_resolved_hold_up_nobody(three: Brokers, either_bridge: Bridges, tmp_path: Path) -> None:
    """Beside 100 sources of each kind whose names get no answer, good names are resolved, and a stop is a stop."""
    names = Names(tmp_path, {"dead-*": None, "good.test": ["127.0.0.1"]})
    config = _config(_hosts(three, "good.test"))
    dead = _config("dead-{n}.test dead-{n}.test dead-{n}.test", connect_timeout="2s")["sources"]
    for n in range(100):
        for name, source in dead.items():
            url = source["url"].format(n=n)
            config["sources"][f"{name}-{n}"] = {**deepcopy(source), "url": url}
            config["routes"].append({"from": f"{name}-{n}", "actor": "record"})
    bridge = either_bridge(config, env=names.env)
    for name in KINDS:
        bridge.wait_for("source.connected", source=name)
    bridge.wait_for("sink.connected")
    for name in KINDS:
        line = bridge.wait_for("source.unavailable", source=f"{name}-99")
        assert line["cause"] == "the name 'dead-99.test' was not resolved within 2s"
    bridge.terminate()
    assert bridge.wait(25) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_silent_server_takes_no_more_than_connect_timeout(
    kind: str, redis_server: Redis, certificates: Certificates, either_bridge: Bridges
) -> None:
    """After the TLS handshake it says nothing, nor farewell: attempts follow each other as `connect_timeout` has it."""
    with MuteTls(certificates) as server:
        config = _config(
            " ".join([f"127.0.0.1:{server.port}"] * 3), "s", connect_timeout="300ms", tls={"ca": str(certificates.ca)}
        )
        config["dramatiq"] = {"url": redis_server.url_of(0)}
        config["sources"] = {kind: config["sources"][kind]}
        config["routes"] = [{"from": kind, "actor": "record"}]
        bridge = either_bridge(config)
        assert bridge.wait_for("source.unavailable")["cause"].startswith("timed out")
        wait_until(lambda: server.accepted >= 6, 20, "six attempts")
        bridge.terminate()
        assert bridge.wait(25) == 0


def test_send_connects_as_the_bridge_does(three: Brokers, black_holes: None, tmp_path: Path) -> None:
    """By the address that answers; and where the name is never resolved it says so, and ends."""
    names = Names(tmp_path, {"dead.test": None, "both.test": [BLACK, "127.0.0.1"]})
    path = tmp_path / "bridge.yaml"
    for host, code, says in (
        ("both.test", 0, ""),
        ("dead.test", 1, "Redis did not take the message: the name 'dead.test' was not resolved within 300ms"),
    ):
        path.write_text(yaml.safe_dump(_config(_hosts(three, host), connect_timeout="5s" if code == 0 else "300ms")))
        done = subprocess.run(
            [sys.executable, "-m", "bridge", "send", "actor", f"--config={path}"],
            env={**os.environ, **names.env}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert says in done.stderr


def test_a_host_that_tls_refuses_to_name_holds_up_nobody(
    three: Brokers, certificates: Certificates, either_bridge: Bridges, tmp_path: Path
) -> None:
    """The sources and a Redis of such a host are unavailable, and say why; all others go on."""
    names = Names(tmp_path, {"a..b": ["127.0.0.1"]})
    config = _config(_hosts(three, "127.0.0.1"))
    odd = _config(_hosts(three, "a..b"), "s", tls={"ca": str(certificates.ca)})["sources"]
    for name, source in odd.items():
        config["sources"][f"odd-{name}"] = source
        config["routes"].append({"from": f"odd-{name}", "actor": "record"})
    bridge = either_bridge(config, env=names.env)
    for name in KINDS:
        bridge.wait_for("source.connected", source=name)
        cause = bridge.wait_for("source.unavailable", source=f"odd-{name}", times=2)["cause"]
        assert cause.startswith("TLS can't ask for a certificate of 'a..b'"), cause
    bridge.terminate()
    assert bridge.wait(25) == 0
