"""Faults of the connection to an MQTT broker: flapping, silence, hostile packets, and a sink that is away too long."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import uvloop
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from bridge.errors import Disconnected
from tests.sources.mqtt.test_packets import packet, publish
from tests.support.brokers import Mosquitto, Redis
from tests.support.children import wait_until
from tests.support.feeds import MqttFeed
from tests.support.mqtt_wire import Script, across, cause_of_the_end, connected, receive
from tests.support.processes import BridgeProcess, Bridges, queue_messages


class Publisher:
    """Publishes numbers through every interruption; `ledger` has the numbers that the broker has acknowledged."""

    def __init__(self, feed: MqttFeed) -> None:
        self.ledger: set[int] = set()
        self._topic = feed.name
        self._numbers: dict[int, int] = {}
        # A persistent session, so that paho sends again the messages that were in flight.
        name = f"publisher-{uuid.uuid4().hex[:8]}"
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        self._client.max_inflight_messages_set(20)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_publish = lambda _client, _data, mid, *_: self.ledger.add(self._numbers[mid])
        self._client.connect("127.0.0.1", feed.broker.port)

    def publish(self, number: int) -> None:
        """Queue one number; paho publishes it once it can."""
        # Before it is sent: the acknowledgement comes on paho's thread.
        self._numbers[self._client._last_mid + 1] = number
        self._client.publish(self._topic, json.dumps({"n": number}), qos=1)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Publish until the context ends."""
        self._client.loop_start()
        try:
            yield
        finally:
            self._client.disconnect()
            self._client.loop_stop()


def _arrived(sink: Redis) -> Counter[int]:
    with sink.client() as client:
        return Counter(message["args"][0] for message in queue_messages(client, "default"))


@across
def test_a_broker_that_flaps(
    version: str, new_mosquitto: Callable[..., Mosquitto], redis_server: Redis, either_bridge: Bridges
) -> None:
    """A broker that restarts every second loses nothing, and is tried again within 10 s each time."""
    feed = MqttFeed(new_mosquitto())
    bridge = either_bridge(feed.config(redis_server, version=version)).ready()
    publisher = Publisher(feed)
    numbers = iter(range(100_000))
    with publisher.running():
        for _ in range(10):
            for _ in range(200):
                publisher.publish(next(numbers))
                time.sleep(0.003)
            feed.broker.stop()
            time.sleep(0.2)
            feed.broker.start()
        count = next(numbers)
        wait_until(lambda: _in_use(bridge), 20, "a connection")
        wait_until(lambda: len(publisher.ledger) == count, 30, "everything published")
        wait_until(lambda: set(_arrived(redis_server)) >= publisher.ledger, 30, "everything that was acknowledged")
    assert bridge.running
    ends = bridge.events("source.disconnected") + bridge.events("source.unavailable")
    assert max(line["retry_in"] for line in ends) <= 10


def _in_use(bridge: BridgeProcess) -> bool:
    """Tell by the last line about the connection: those before may stand for several."""
    ends = ("source.connected", "source.disconnected", "source.unavailable")
    return [log["event"] for log in list(bridge.logs) if log.get("event") in ends][-1:] == ["source.connected"]


def _logging(new_mosquitto: Callable[..., Mosquitto], **options: int) -> MqttFeed:
    """A mosquitto whose log has every packet.

    It takes no keepalive of 1 s: it counts in whole seconds, and ends connections that were silent for 1.1 s (2.0.11, observed).
    """
    return MqttFeed(new_mosquitto({"log_type": "all"}, **options))


def _wait_for_pings(feed: MqttFeed, count: int) -> None:
    """Wait until mosquitto has received so many pings more."""

    def pings() -> int:
        return feed.broker.log.read_text().count(f"Received PINGREQ from {feed.name}")

    before = pings()
    wait_until(lambda: pings() >= before + count, 10 * count, f"{count} pings")


def _granted(feed: MqttFeed) -> int:
    return feed.broker.log.read_text().count(f"Sending SUBACK to {feed.name}")


def test_a_broker_that_is_killed(
    new_mosquitto: Callable[..., Mosquitto], redis_server: Redis, either_bridge: Bridges
) -> None:
    """A killed broker itself loses the messages that it had not saved; messages that it takes afterwards arrive."""
    feed = _logging(new_mosquitto)
    either_bridge(feed.config(redis_server)).ready()
    for n in range(2):
        feed.broker.kill()
        feed.broker.start()
        # The bridge itself says such losses once a minute.
        wait_until(lambda n=n: _granted(feed) == n + 2, 11, "the subscription")  # type: ignore[misc]
        feed.publish([{"n": n}])
        wait_until(lambda n=n: n in _arrived(redis_server), 10, "the event")  # type: ignore[misc]


def test_a_silent_broker_is_left(
    new_mosquitto: Callable[..., Mosquitto], redis_server: Redis, either_bridge: Bridges
) -> None:
    """A silent connection is given up after two keepalives, and made again once the broker answers."""
    feed = _logging(new_mosquitto)
    bridge = either_bridge(feed.config(redis_server, keepalive="2s", connect_timeout="1s")).ready()
    feed.publish([{"n": 1}])
    wait_until(lambda: _arrived(redis_server)[1] == 1, 10, "the event")
    _wait_for_pings(feed, 2)  # idle, it stands
    assert bridge.events("source.disconnected") == []
    feed.broker.pause()
    assert bridge.wait_for("source.disconnected", timeout=10)["cause"] == "no answer to a ping"
    assert bridge.wait_for("source.unavailable", timeout=10)["cause"] == "timed out"
    feed.broker.resume()
    bridge.wait_for("source.connected", timeout=12, times=2)
    feed.publish([{"n": 2}])
    wait_until(lambda: _arrived(redis_server)[2] == 1, 10, "the event")


@across
def test_a_full_window_outlasts_the_keepalive(
    version: str, new_mosquitto: Callable[..., Mosquitto], new_redis: Callable[..., Redis], either_bridge: Bridges
) -> None:
    """While Redis is away and nothing is read, the connection stays, and no event comes twice afterwards."""
    feed = _logging(new_mosquitto, max_inflight_messages=100)
    sink = new_redis(appendonly=True)
    window = {"events": 10, "bytes": "50B"}
    bridge = either_bridge(feed.config(sink, version=version, keepalive="2s", window=window)).ready()
    sink.stop()
    feed.publish([{"n": n} for n in range(300)])
    _wait_for_pings(feed, 3)  # the answers to the first two would be due
    sink.start()
    wait_until(lambda: len(_arrived(sink)) == 300, 20, "all of them")
    assert _arrived(sink) == Counter(range(300))
    assert bridge.events("source.disconnected") == []
    _wait_for_pings(feed, 2)
    assert bridge.events("source.disconnected") == [], "the pings of that time are answered by now"


async def test_a_host_that_is_gone_is_noticed_without_reading(fast_path: bool) -> None:
    """A full window does not hide that the other host is gone: its TCP no longer confirms the pings."""
    async with connected(fast_path, keepalive="1s", window={"events": 1, "bytes": "1B"}) as (script, session):
        script.say(publish("t", b"1", 1), publish("t", b"2", 2))
        await receive(session, 1)
        script.go_deaf()
        async with asyncio.timeout(60):
            await cause_of_the_end(session)


async def test_no_answer_to_subscribe(fast_path: bool) -> None:
    """Messages before the answer to SUBSCRIBE are received; without any, the wait for it ends after `connect_timeout`."""
    script = Script()
    script.grants = False
    script.backlog = publish("t", b"0", 1)
    async with connected(fast_path, script=script, connect_timeout="2s", keepalive="2s") as (_, session):
        for n in range(1, 13):
            await session.acknowledge(await receive(session, 1))
            assert await script.acknowledged(n) == list(range(1, n + 1))
            await asyncio.sleep(0.25)
            script.say(publish("t", b"%d" % n, n + 1))
        await receive(session, 1)
        async with asyncio.timeout(60):
            assert await cause_of_the_end(session) == "no answer to SUBSCRIBE"


async def test_a_late_refusal(fast_path: bool) -> None:
    """A refusal that comes behind a backlog ends the session with the broker's reason."""
    script = Script()
    script.grants = False
    script.backlog = publish("t", b"0", 1)
    async with connected(fast_path, script=script) as (_, session):
        await receive(session, 1)
        script.say(b"\x90\x04\x00\x01\x00\x87")
        async with asyncio.timeout(60):
            cause = await cause_of_the_end(session)
        assert cause == "the broker refuses the subscription to 't' (Not authorized)"


#: A malformed packet of each kind that a broker may send.
HOSTILE = {
    "CONNACK": packet(0x20, b"\x00"),
    "CONNACK with a property of another packet": packet(0x20, b"\x00\x00\x03\x0b\x01\x01"),
    "PUBREL": packet(0x62, b"\x00"),
    "SUBACK for nobody": packet(0x90, b"\x77\x77\x00\x01"),
    "SUBACK": packet(0x90, b"\x00"),
    "UNSUBACK": packet(0xB0, b"\x00\x01\x09\x01\x01"),
    "PINGRESP": packet(0xD0, b"abc"),
    "DISCONNECT": packet(0xE0, b"\x00\x05\x1f\x00\x09"),
    "a message of QoS 3": packet(0x36, b"\x00\x01t\x00\x07\x00x"),
    "nothing": b"\x00\x00",
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_hostile_packets_end_the_session(fast_path: bool, case: str) -> None:
    """A packet that can't be read ends this session with a cause; the task that reads lives on."""
    async with connected(fast_path) as (script, session):
        script.say(HOSTILE[case])
        async with asyncio.timeout(60):
            assert (await cause_of_the_end(session)).startswith("the broker")


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_reset_behind_messages_is_noticed(
    fast_path: bool, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Messages sent before the reset are received, and the session ends at once, not only when a ping is due."""

    async def run() -> None:
        async with connected(fast_path) as (script, session), asyncio.timeout(60):
            script.reset(*(publish("t", b"%d" % n, n) for n in range(1, 4)))
            # The broker redelivers unacknowledged events of a durable session, so the window may drop them.
            with contextlib.suppress(Disconnected):
                assert [event.body for event in await session.receive()] in ([b"1"], [b"1", b"2"], [b"1", b"2", b"3"])
            assert await cause_of_the_end(session)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run())


async def test_the_bridge_outlives_hostile_packets(redis_server: Redis, either_bridge: Bridges) -> None:
    """After each connection that ended so, the bridge makes a new one, and events arrive on it."""
    script = Script()
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    config = {
        "dramatiq": {"url": redis_server.url_of(0)},
        "sources": {"s": {"type": "mqtt", "url": url, "client_id": "c", "topics": ["t"]}},
        "routes": [{"from": "s", "actor": "record", "args": ["$payload.n"]}],
    }
    async with server:
        bridge = either_bridge(config)
        for times, case in enumerate(["UNSUBACK", "DISCONNECT", "PINGRESP", "SUBACK"], 1):
            await asyncio.to_thread(wait_until, lambda n=times: len(script.subscribed) == n, 15, "one")  # type: ignore[misc]
            script.say(HOSTILE[case])
        ended = bridge.wait_for("source.disconnected")
        assert ended["cause"].startswith("the broker sent what is not MQTT")
        await asyncio.to_thread(wait_until, lambda: len(script.subscribed) == 5, 15, "the fifth subscription")
        script.say(publish("t", b'{"n": 1}', 1))
        await asyncio.to_thread(wait_until, lambda: _arrived(redis_server)[1] == 1, 10, "the event")
        await asyncio.to_thread(bridge.close)
        await script.hang_up()
