"""Certificates that change while the bridge runs, its own and those of RabbitMQ, mosquitto and Redis."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import Broker
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.certificates import Certificates, expire, make_certificates
from tests.support.children import wait_until
from tests.support.processes import BridgeProcess, Bridges

VERIFY: dict[type[Broker], dict[str, str]] = {
    RabbitMQ: {"ssl_options.verify": "verify_peer", "ssl_options.fail_if_no_peer_cert": "true"},
    Mosquitto: {"require_certificate": "true"},
    Redis: {"tls-auth-clients": "yes"},
}
Started = tuple[Broker, BridgeProcess, Certificates, dict[str, Path]]


@pytest.fixture(params=[RabbitMQ, Mosquitto, Redis], ids=lambda kind: kind.program)
def started(request: pytest.FixtureRequest, new_bridge: Bridges, redis_server: Redis, tmp_path: Path) -> Started:
    """A broker that wants client certificates, and a bridge that reads it, with files of its own."""
    kind: type[Broker] = request.param
    (tmp_path / "server").mkdir()
    given = make_certificates(tmp_path / "server")
    starts: dict[type[Broker], Callable[..., Broker]] = {
        RabbitMQ: request.getfixturevalue("new_rabbitmq"),
        Mosquitto: request.getfixturevalue("new_mosquitto"),
        Redis: request.getfixturevalue("new_redis"),
    }
    broker = starts[kind](VERIFY[kind], tls=given)
    files = {"ca": given.ca, "cert": given.client_cert, "key": given.client_key}
    own = {name: tmp_path / f"own-{path.name}" for name, path in files.items()}
    for name, path in files.items():
        own[name].write_bytes(path.read_bytes())
    sources: dict[type[Broker], dict[str, Any]] = {
        RabbitMQ: {"type": "amqp", "queue": "tls", "declare": {}, "username": "guest", "password": "guest"},
        Mosquitto: {"type": "mqtt", "topics": ["tls"]},
        Redis: {"type": "redis-pubsub", "channels": ["tls"]},
    }
    url = f"{broker.scheme}s://127.0.0.1:{broker.port}"
    feed = {**sources[kind], "url": url, "tls": {name: str(path) for name, path in own.items()}}
    route = {"from": "feed", "actor": "record", "args": ["$payload"]}
    config = {"dramatiq": {"url": redis_server.url}, "sources": {"feed": feed}, "routes": [route]}
    return broker, new_bridge(config).ready(), given, own


def test_all_certificates_are_rotated(started: Started, tmp_path: Path) -> None:
    """Of the authority, the server and the client: what is connected stays, half a file is said, the whole one is used."""
    broker, bridge, given, own = started
    (tmp_path / "new").mkdir()
    new = make_certificates(tmp_path / "new")
    files = {"ca": new.ca, "cert": new.client_cert, "key": new.client_key}
    own["ca"].write_bytes(files["ca"].read_bytes())
    own["cert"].write_bytes(files["cert"].read_bytes()[:100])
    own["key"].write_bytes(files["key"].read_bytes())
    assert bridge.state()["connected"]
    assert not bridge.events("source.disconnected")
    broker.stop()
    for old, path in ((given.ca, new.ca), (given.cert, new.cert), (given.key, new.key)):
        old.write_bytes(path.read_bytes())
    given.client_cert.write_bytes(new.client_cert.read_bytes())  # the test's own, to see whether the broker answers
    given.client_key.write_bytes(new.client_key.read_bytes())
    broker.start()
    said = f"no certificate and key can be read from {own['cert']}"
    wait_until(lambda: any(said in line for line in list(bridge.lines)), what="the half file said")
    own["cert"].write_bytes(files["cert"].read_bytes())
    bridge.wait_for("source.connected", times=2)


def test_the_certificate_of_a_server_has_expired(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its next connection is refused in words, again and again; the one after the renewal succeeds."""
    broker, bridge, given, _ = started
    good = given.cert.read_bytes()
    broker.stop()
    expire(given)
    with monkeypatch.context() as patch:
        # Else the test itself would take the broker for one that does not answer.
        patch.setattr("ssl.create_default_context", lambda **_: ssl._create_unverified_context())  # noqa: S323
        broker.start()
        wait_until(lambda: any("certificate has expired" in line for line in list(bridge.lines)), what="the cause")
    broker.stop()
    given.cert.write_bytes(good)
    broker.start()
    bridge.wait_for("source.connected", times=2)
