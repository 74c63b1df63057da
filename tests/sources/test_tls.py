"""Connecting: TLS, certificates, credentials, brokers that never answer; each for all four sources and Dramatiq's Redis."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from paho.mqtt.client import Client as MqttClient
from paho.mqtt.enums import CallbackAPIVersion
from redis import Redis as Client

from bridge.config import tls
from bridge.errors import causes
from tests.conftest import need
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.certificates import Certificates, encrypt_key, make_certificates
from tests.support.children import wait_until
from tests.support.feeds import AmqpFeed, Feed, MqttFeed, PubsubFeed, StreamFeed, connect
from tests.support.processes import BridgeProcess, Bridges, queue_messages

USER, PASSWORD = "brücke@home", "p@ss:w/rd%#"
KINDS = ("amqp", "mqtt", "pubsub", "stream")


@dataclass(frozen=True)
class Strict:
    """One broker of each kind that takes nobody without TLS, a certificate of the authority, and the password."""

    rabbitmq: RabbitMQ
    mosquitto: Mosquitto
    redis: Redis
    certificates: Certificates

    def config(self, tls: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
        """All four sources and Dramatiq's Redis, over TLS; keys of `tls` that are None are left out."""
        given = self.certificates
        trusted = {"ca": str(given.ca), "cert": str(given.client_cert), "key": str(given.client_key)}
        chosen = {name: value for name, value in {**trusted, **(tls or {})}.items() if value is not None}
        settings = {"username": USER, "password": PASSWORD, "tls": chosen, **settings}
        return _config("s", [self.rabbitmq.port, self.mosquitto.port, self.redis.port], settings)

    def client(self) -> Client:
        """A client of the Redis."""
        given = self.certificates
        return Client(
            port=self.redis.port, username=USER, password=PASSWORD, ssl=True, ssl_ca_certs=str(given.ca),
            ssl_certfile=str(given.client_cert), ssl_keyfile=str(given.client_key),
        )  # fmt: skip


def _config(s: str, ports: list[int], settings: dict[str, Any]) -> dict[str, Any]:
    """All four sources and Dramatiq's Redis at these ports, their schemes ending in `s`."""
    amqp, mqtt, redis_ = (
        f"{scheme}{s}://127.0.0.1:{port}" for scheme, port in zip(("amqp", "mqtt", "redis"), ports, strict=True)
    )
    sources: dict[str, dict[str, Any]] = {
        "amqp": {"type": "amqp", "url": amqp, "queue": "tls", "declare": {}},
        "mqtt": {"type": "mqtt", "url": mqtt, "topics": ["tls"]},
        "pubsub": {"type": "redis-pubsub", "url": redis_, "channels": ["tls"]},
        "stream": {"type": "redis-stream", "url": redis_, "streams": ["tls"], "group": "bridge", "field": "data"},
    }
    return {
        "dramatiq": {"url": redis_, **settings},
        # Copies: YAML would write the same mapping again as an alias, which a configuration can't hold.
        "sources": {name: {**source, **deepcopy(settings)} for name, source in sources.items()},
        "routes": [{"from": name, "actor": "record", "args": [name, "$payload.n"]} for name in sources],
    }


@pytest.fixture(scope="module")
def strict(certificates: Certificates) -> Iterator[Strict]:
    """The strict brokers of this module."""
    for kind in (RabbitMQ, Mosquitto, Redis):
        need(kind)
    verify = {"ssl_options.verify": "verify_peer", "ssl_options.fail_if_no_peer_cert": "true"}
    with ExitStack() as ends:
        rabbitmq = ends.enter_context(RabbitMQ(verify, tls=certificates))
        # RabbitMQ's own file takes no # in a value, and each rabbitmqctl takes seconds.
        rabbitmq.ctl(
            "eval",
            f'rabbit_auth_backend_internal:add_user(<<"{USER}"/utf8>>, <<"{PASSWORD}">>, <<"tests">>), '
            f'rabbit_auth_backend_internal:set_permissions(<<"{USER}"/utf8>>, <<"/">>, <<".*">>, <<".*">>, <<".*">>, '
            '<<"tests">>).',
        )
        login: dict[str, Any] = {"user": USER, "password": PASSWORD, "tls": certificates}
        mosquitto = ends.enter_context(Mosquitto({"require_certificate": "true"}, **login))
        made = ends.enter_context(Redis({"tls-auth-clients": "yes"}, **login))
        yield Strict(rabbitmq, mosquitto, made, certificates)


def _causes(bridge: BridgeProcess) -> dict[str, str]:
    """Wait until every source and the sink have failed once, and return why."""
    causes = {name: bridge.wait_for("source.unavailable", source=name)["cause"] for name in KINDS}
    return causes | {"dramatiq": bridge.wait_for("sink.unavailable")["cause"]}


def _ends_at_once(bridge: BridgeProcess) -> None:
    bridge.terminate()
    assert bridge.wait() == 0


def test_eight_sources_in_one_bridge(
    strict: Strict, rabbitmq: RabbitMQ, mosquitto: Mosquitto, redis_server: Redis, either_bridge: Bridges
) -> None:
    """Two sources of each kind at two brokers each, one over TLS with odd credentials and one without, all work at once."""
    with strict.client() as client:
        client.flushall()  # the module's own: events of the other path are still in it
    config = strict.config({"server_name": "localhost"})
    feeds: list[Feed] = [AmqpFeed(rabbitmq), MqttFeed(mosquitto), PubsubFeed(redis_server), StreamFeed(redis_server)]
    for feed in feeds:
        feed.prepare()
        config["sources"][feed.name] = feed.source
        config["routes"].append({"from": feed.name, "actor": "record", "args": [feed.name, "$payload.n"]})
    either_bridge(config).ready()
    for feed in feeds:
        feed.publish([{"n": n} for n in range(50)])
    asyncio.run(_publish_amqp(strict, b'{"n": 1}'))
    _publish_mqtt(strict, b'{"n": 1}')
    expected = Counter((name, n) for name in (feed.name for feed in feeds) for n in range(50))
    expected.update((name, 1) for name in KINDS)
    with strict.client() as client:
        client.publish("tls", b'{"n": 1}')
        client.xadd("tls", {"data": b'{"n": 1}'})
        wait_until(lambda: client.llen("dramatiq:default") >= 204, 30, "all messages")
        assert Counter((name, n) for name, n in (m["args"] for m in queue_messages(client, "default"))) == expected


async def _publish_amqp(strict: Strict, body: bytes) -> None:
    given = strict.certificates
    context = ssl.create_default_context(cafile=given.ca)
    context.load_cert_chain(given.client_cert, given.client_key)
    connection = await aio_pika.connect(
        host="127.0.0.1", port=strict.rabbitmq.port, login=USER, password=PASSWORD, ssl=True, ssl_context=context
    )
    async with connection, connection.channel() as channel:
        await channel.default_exchange.publish(aio_pika.Message(body), "tls")


def _publish_mqtt(strict: Strict, body: bytes) -> None:
    given = strict.certificates
    client = MqttClient(CallbackAPIVersion.VERSION2)
    client.username_pw_set(USER, PASSWORD)
    client.tls_set(str(given.ca), str(given.client_cert), str(given.client_key))
    connect(client, strict.mosquitto.port)
    client.publish("tls", body, qos=1).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def test_an_unknown_authority_is_refused(strict: Strict, either_bridge: Bridges, tmp_path: Path) -> None:
    """A certificate of an authority that is not trusted is a clear cause, everywhere; stopping works as ever."""
    other = make_certificates(tmp_path)
    bridge = either_bridge(strict.config({"ca": str(other.ca)}))
    for name, cause in _causes(bridge).items():
        assert "certificate verify failed" in cause, name
    _ends_at_once(bridge)


def test_verification_can_be_turned_off(strict: Strict, either_bridge: Bridges) -> None:
    """With `tls: {verify: false}` any certificate will do, of any name and authority."""
    either_bridge(strict.config({"ca": None, "verify": False, "server_name": "broker.internal"})).ready()


def test_the_servers_name_is_checked(strict: Strict, either_bridge: Bridges) -> None:
    """`server_name` is the name that the certificate must have, instead of the URL's host."""
    causes = _causes(either_bridge(strict.config({"server_name": "broker.internal"})))
    for name, cause in causes.items():
        assert "broker.internal" in cause, name


def test_a_client_certificate_may_be_needed(strict: Strict, either_bridge: Bridges) -> None:
    """Without the certificate that the broker asks for nothing connects, and the cause says so; stopping works as ever."""
    bridge = either_bridge(strict.config({"cert": None, "key": None}))
    for name, cause in _causes(bridge).items():
        assert "wants a client certificate" in cause, name
    assert not bridge.events("source.connected")
    _ends_at_once(bridge)


def test_a_missing_file_is_named(strict: Strict, either_bridge: Bridges, tmp_path: Path) -> None:
    """A file of `tls` that cannot be read is a clear cause, and is tried again: it may be on its way."""
    path = tmp_path / "later.pem"
    bridge = either_bridge(strict.config({"key": str(path)}))
    for name, cause in _causes(bridge).items():
        assert cause == f"tls.key: {path} cannot be read: No such file or directory", name
    path.write_bytes(strict.certificates.client_key.read_bytes())
    bridge.ready()


def test_a_key_that_does_not_fit(strict: Strict, either_bridge: Bridges) -> None:
    """Everywhere in the same words."""
    for name, cause in _causes(either_bridge(strict.config({"key": str(strict.certificates.key)}))).items():
        assert cause == "tls: the key does not fit the certificate", name


def test_a_key_may_be_encrypted(strict: Strict, either_bridge: Bridges, tmp_path: Path) -> None:
    """With `key_password` an encrypted key is opened, also where key and certificate are one file; no log shows it."""
    password, path = "p@ss phrase: %#", tmp_path / "both.pem"
    encrypt_key(strict.certificates.client_key, path, password)
    path.write_bytes(strict.certificates.client_cert.read_bytes() + path.read_bytes())
    tls = {"cert": str(path), "key": str(path), "key_password": "${KEY_PASSWORD}"}
    bridge = either_bridge(strict.config(tls), env={"KEY_PASSWORD": password}, arguments=["--log-level", "debug"])
    bridge.ready()
    assert password not in "\n".join(bridge.lines)
    subprocess.run(
        [sys.executable, "-m", "bridge", "send", "actor", f"--config={bridge.path}"], check=True, timeout=60, env=bridge.env
    )  # fmt: skip


def test_a_key_password_that_is_not_needed(strict: Strict, either_bridge: Bridges) -> None:
    """The key may be encrypted, or not, whenever it is rotated."""
    either_bridge(strict.config({"key_password": "unused"})).ready()


def test_a_key_that_is_encrypted_anew_with_another_password(
    strict: Strict, either_bridge: Bridges, tmp_path: Path
) -> None:
    """A rotated key that the password does not open is a cause of the next attempt."""
    path = tmp_path / "later.key"
    bridge = either_bridge(strict.config({"key": str(path), "key_password": "old phrase"}))
    for name in KINDS:
        bridge.wait_for("source.unavailable", source=name)
    encrypt_key(strict.certificates.client_key, path, "new phrase")
    for name in KINDS:
        cause = f"tls.key_password: it does not decrypt {path}"
        bridge.wait_for("source.unavailable", source=name, cause=cause)
    _ends_at_once(bridge)


def test_a_file_without_certificates(strict: Strict, either_bridge: Bridges, tmp_path: Path) -> None:
    """An empty file of authorities is named."""
    path = tmp_path / "empty.pem"
    path.touch()
    for name, cause in _causes(either_bridge(strict.config({"ca": str(path)}))).items():
        assert cause == f"tls.ca: there is no certificate in {path}", name


def test_a_port_for_tls_without_tls(strict: Strict, either_bridge: Bridges) -> None:
    """The cause says which scheme the URL should have."""
    ports = [strict.rabbitmq.port, strict.mosquitto.port, strict.redis.port]
    causes = _causes(either_bridge(_config("", ports, {})))
    assert causes["amqp"] == "this port speaks TLS: write amqps:// in the URL"
    assert "the port is one for TLS (mqtts://)" in causes["mqtt"]
    # Redis sends an alert and resets the connection: the alert is seen first, or not at all.
    words = ("this port speaks TLS: write rediss:// in the URL", "perhaps the port is one for TLS (rediss://)")
    for name in ("pubsub", "stream", "dramatiq"):
        assert causes[name].endswith(words), name


def test_a_port_without_tls_for_tls(
    rabbitmq: RabbitMQ, mosquitto: Mosquitto, redis_server: Redis, either_bridge: Bridges
) -> None:
    """The cause says which scheme the URL should have."""
    causes = _causes(either_bridge(_config("s", [rabbitmq.port, mosquitto.port, redis_server.port], {})))
    schemes = {"amqp": "amqp", "mqtt": "mqtt"}
    for name, cause in causes.items():
        assert cause.endswith((f"write {schemes.get(name, 'redis')}:// in the URL", "speaks no TLS")), name


def test_a_wrong_password_is_a_clear_cause(strict: Strict, either_bridge: Bridges) -> None:
    """A refused login is logged in the broker's words, and no line of the log has the password."""
    wrong = "wr@ng:s/cret%#"
    bridge = either_bridge(strict.config(password=wrong), arguments=["--log-level", "debug"])
    causes = _causes(bridge)
    assert "ACCESS_REFUSED" in causes["amqp"]
    assert "ot authorized" in causes["mqtt"]
    for name in ("pubsub", "stream", "dramatiq"):
        assert "invalid username-password" in causes[name], name
    _ends_at_once(bridge)
    text = "\n".join(bridge.lines)
    for secret in (wrong, "s/cret", "wr%40ng", "cr%65t", PASSWORD):
        assert secret not in text


@pytest.fixture
def mute_port() -> Iterator[int]:
    """A port that accepts every connection and never sends a byte."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server, ExitStack() as open_links:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    open_links.enter_context(server.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_broker_that_never_answers(secure: bool, mute_port: int, either_bridge: Bridges) -> None:
    """After `connect_timeout` the cause is a timeout; the bridge tries again, and stopping does not wait for it."""
    config = _config("s" if secure else "", [mute_port] * 3, {"connect_timeout": "300ms"})
    config["dramatiq"]["timeout"] = "300ms"
    bridge = either_bridge(config)
    for name in KINDS:
        assert bridge.wait_for("source.unavailable", source=name)["cause"].startswith("timed out")
    assert bridge.wait_for("sink.unavailable")["cause"].startswith("timed out")
    _ends_at_once(bridge)


def test_errors_that_lead_to_each_other_have_an_end() -> None:
    """Aiormq raises an error again that was the context of another one: whoever follows such a ring would follow it for ever."""
    first, second = ConnectionError("first"), ConnectionError("second")
    first.__context__, second.__context__ = second, first
    assert list(causes(first)) == [first, second]
    assert tls.explain(first, "amqp://localhost") == "first"
    second.args = ("WRONG_VERSION_NUMBER",)
    assert "this port speaks no TLS" in tls.explain(first, "amqps://localhost")
