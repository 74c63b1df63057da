"""The brokers that the other tests rely on do what those tests assume of them."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import aio_pika
import paho.mqtt.client as mqtt
import pytest
import redis
from aio_pika.abc import AbstractConnection
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.broker import Broker
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.certificates import Certificates
from tests.support.children import REPOSITORY, wait_until

NewRedis = Callable[..., Redis]
NewMosquitto = Callable[..., Mosquitto]
NewRabbitMQ = Callable[..., RabbitMQ]


def processes_of(directory: Path) -> list[str]:
    """Return the command lines of all processes whose environment names a broker's directory as their home."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"HOME={directory}\0".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def assert_nothing_left(broker: Broker) -> None:
    """Check that the broker's processes are gone; Erlang's helpers notice their machine's end a moment later."""
    wait_until(lambda: not processes_of(broker.directory), 10, f"the end of {processes_of(broker.directory)}")


class MqttClient:
    """A paho client that keeps what it gets."""

    def __init__(self, broker: Mosquitto, client_id: str = "", **credentials: str) -> None:
        self.bodies: list[bytes] = []
        self.reason: str | None = None
        self._connected, self._subscribed = threading.Event(), threading.Event()
        client = self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=not client_id,
            reconnect_on_failure=False,
        )
        client.on_connect = self._on_connect
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_message = lambda _client, _data, message: self.bodies.append(bytes(message.payload))
        if credentials:
            client.username_pw_set(**credentials)
        if broker.tls:
            client.tls_set(ca_certs=str(broker.tls.ca))
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        assert self._connected.wait(30)

    def _on_connect(
        self, client: mqtt.Client, data: object, flags: object, reason: ReasonCode, properties: object
    ) -> None:
        self.reason = str(reason)
        self._connected.set()

    def subscribe(self, topic: str) -> None:
        self.client.subscribe(topic, qos=1)
        assert self._subscribed.wait(30)

    def publish(self, topic: str, body: bytes) -> None:
        self.client.publish(topic, body, qos=1).wait_for_publish(10)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


async def publish(connection: AbstractConnection, queue: str, body: bytes) -> None:
    """Publish a persistent message to a durable queue, confirmed."""
    channel = await connection.channel()
    await channel.declare_queue(queue, durable=True)
    message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await channel.default_exchange.publish(message, queue)


async def fetch(connection: AbstractConnection, queue: str) -> bytes:
    """Take one message from a durable queue."""
    channel = await connection.channel()
    declared = await channel.declare_queue(queue, durable=True)
    message = await declared.get(timeout=60)
    assert message is not None
    await message.ack()
    return message.body


def test_redis_keeps_its_data_over_a_restart_and_a_kill(new_redis: NewRedis) -> None:
    """A Redis with an append-only file answers, and has its data after a restart and after kill -9."""
    server = new_redis(appendonly=True)
    port, pid = server.port, server.pid
    with server.client() as client:
        client.set("a", "1")
    server.restart()
    with server.client() as client:
        assert client.get("a") == b"1"
        client.set("b", "2")
    server.kill()
    assert not server.running
    assert_nothing_left(server)
    server.start()
    with server.client() as client:
        assert client.mget("a", "b") == [b"1", b"2"]
    assert server.port == port
    assert server.pid != pid


def test_a_paused_redis_keeps_its_connections_and_answers_later(new_redis: NewRedis) -> None:
    """SIGSTOP makes a broker silent without closing anything; SIGCONT makes it answer what it was sent."""
    server = new_redis()
    with socket.create_connection(("127.0.0.1", server.port), timeout=0.3) as link:
        server.pause()
        link.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            link.recv(64)
        server.resume()
        link.settimeout(30)
        assert link.recv(64) == b"+PONG\r\n"


def test_a_paused_broker_can_be_stopped(new_redis: NewRedis) -> None:
    """Ending a test in the middle of a pause leaves nothing behind."""
    server = new_redis()
    server.pause()
    server.stop()
    assert_nothing_left(server)


def test_redis_asks_for_its_user_and_password(new_redis: NewRedis) -> None:
    """With a user and a password, nobody else gets in, and the URL carries both."""
    server = new_redis(user="bridge", password="p@ss/word")
    with redis.Redis.from_url(server.url) as client:
        assert client.ping()
    stranger = redis.Redis(host="127.0.0.1", port=server.port, retry=Retry(NoBackoff(), 0))
    with stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_redis_takes_a_password_alone_and_more_settings(new_redis: NewRedis) -> None:
    """`requirepass` without a user works, and a test's own directives are in force."""
    server = new_redis({"maxmemory": "8mb"}, password="secret")
    with server.client() as client:
        assert client.config_get("maxmemory") == {"maxmemory": "8388608"}


def test_redis_speaks_tls(new_redis: NewRedis, certificates: Certificates) -> None:
    """A Redis with certificates is trusted through the throw-away authority."""
    server = new_redis(tls=certificates)
    with redis.Redis.from_url(server.url, ssl_ca_certs=str(certificates.ca)) as client:
        assert client.ping()
    assert server.url.startswith("rediss://")


def test_a_broker_that_cannot_start_shows_its_log(new_redis: NewRedis) -> None:
    """A mistake in a broker's configuration is seen at once, in the broker's own words."""
    with pytest.raises(AssertionError, match="no-such-directive"):
        new_redis({"no-such-directive": "1"})


def test_mosquitto_keeps_a_session_over_a_restart(new_mosquitto: NewMosquitto) -> None:
    """A persistent session's backlog survives mosquitto's restart, on the same port."""
    server = new_mosquitto(max_inflight_messages=20)
    subscriber = MqttClient(server, "keeper")
    subscriber.subscribe("plants/#")
    subscriber.close()
    publisher = MqttClient(server)
    for number in range(3):
        publisher.publish("plants/1", b"%d" % number)
    publisher.close()
    server.restart()
    subscriber = MqttClient(server, "keeper")
    wait_until(lambda: len(subscriber.bodies) == 3, 10, "three messages")
    subscriber.close()
    assert subscriber.bodies == [b"0", b"1", b"2"]


def test_mosquitto_is_killed_and_comes_back(new_mosquitto: NewMosquitto) -> None:
    """After kill -9 nothing of mosquitto is left, and it can be started again."""
    server = new_mosquitto()
    server.kill()
    assert_nothing_left(server)
    server.start()
    client = MqttClient(server)
    client.close()
    assert client.reason == "Success"


def test_mosquitto_asks_for_its_user_and_password(new_mosquitto: NewMosquitto) -> None:
    """With a user and a password, nobody else gets in."""
    server = new_mosquitto(user="bridge", password="secret")
    right = MqttClient(server, username="bridge", password="secret")
    right.close()
    wrong = MqttClient(server, username="bridge", password="guess")
    wrong.close()
    assert (right.reason, wrong.reason) == ("Success", "Not authorized")


def test_mosquitto_speaks_tls(new_mosquitto: NewMosquitto, certificates: Certificates) -> None:
    """A mosquitto with certificates is trusted through the throw-away authority."""
    client = MqttClient(new_mosquitto(tls=certificates))
    client.close()
    assert client.reason == "Success"


async def test_rabbitmq_keeps_its_messages_over_a_restart_and_a_kill(new_rabbitmq: NewRabbitMQ) -> None:
    """Persistent messages in a durable queue survive RabbitMQ's restart and kill -9; rabbitmqctl sees the queue."""
    server = new_rabbitmq()
    for end in (server.stop, server.kill):
        async with await aio_pika.connect(server.url) as connection:
            await publish(connection, "orders", end.__name__.encode())
        assert "orders\t1" in server.ctl("list_queues", "-q", "name", "messages")
        end()
        assert_nothing_left(server)
        server.start()
        async with await aio_pika.connect(server.url) as connection:
            assert await fetch(connection, "orders") == end.__name__.encode()


async def test_rabbitmq_speaks_tls_with_a_user_of_its_own(
    new_rabbitmq: NewRabbitMQ, certificates: Certificates
) -> None:
    """A RabbitMQ with certificates and a user lets that user in and nobody else."""
    server = new_rabbitmq(tls=certificates, user="bridge", password="p@ss/word")
    context = ssl.create_default_context(cafile=certificates.ca)
    async with await aio_pika.connect(server.url, ssl_context=context) as connection:
        await publish(connection, "orders", b"1")
        assert await fetch(connection, "orders") == b"1"
    with pytest.raises(aio_pika.exceptions.ProbableAuthenticationError):
        await aio_pika.connect(server.url.replace("bridge:", "guest:"), ssl_context=context)


async def test_the_shared_brokers_answer(
    redis_server: Redis, mosquitto: Mosquitto, rabbitmq: RabbitMQ, unique: Callable[[str], str]
) -> None:
    """The brokers that most tests share are there, and Redis is empty."""
    with redis_server.client() as client:
        assert client.dbsize() == 0
    listener = MqttClient(mosquitto)
    topic = unique("topic")
    listener.subscribe(topic)
    listener.publish(topic, b"hello")
    wait_until(lambda: listener.bodies == [b"hello"], 10, "the message")
    listener.close()
    async with await aio_pika.connect(rabbitmq.url) as connection:
        await publish(connection, queue := unique("queue"), b"hello")
        assert await fetch(connection, queue) == b"hello"


def test_brokers_end_with_the_tests_even_when_these_are_killed(tmp_path: Path) -> None:
    """A run of the tests that is ended by kill -9 leaves no broker behind."""
    script = (
        "from tests.support.brokers import Redis; import time; print(Redis().start().pid, flush=True); time.sleep(600)"
    )
    # The directory of the broker that nobody cleans up goes where pytest cleans up.
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY, env=env, stdout=subprocess.PIPE) as tests:
        assert tests.stdout is not None
        broker = Path("/proc") / tests.stdout.readline().decode().strip()
        assert (broker / "stat").exists()
        tests.send_signal(signal.SIGKILL)
        tests.wait(30)
        wait_until(lambda: not (broker / "cmdline").exists() or not (broker / "cmdline").read_bytes(), 10, "its end")
