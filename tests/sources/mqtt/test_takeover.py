"""Another client with the same client_id: the takeover is noticed, and the session left to it for a while."""

from __future__ import annotations

import time

import pytest

from bridge.errors import Disconnected
from bridge.sources.mqtt.takeover import TakeoverDetector
from tests.sources.mqtt.test_packets import packet
from tests.support.brokers import Mosquitto, Redis
from tests.support.children import wait_until
from tests.support.feeds import MqttFeed
from tests.support.mqtt_wire import across, connected
from tests.support.processes import BridgeProcess, Bridges, queue_messages

#: How long a bridge leaves the session to another one: 9 s, of which jitter takes half at most.
LEAST_WAIT_S = 4.5


async def test_the_brokers_word_for_a_takeover(fast_path: bool) -> None:
    """If the broker reports a takeover, the bridge logs it and waits some seconds before it reconnects."""

    async def lose() -> None:
        async with connected(fast_path) as (script, session):
            script.say(packet(0xE0, b"\x8e\x00"))
            while True:
                await session.receive()

    with pytest.raises(Disconnected) as caught:
        await lose()
    assert caught.value.cause == "another client with client_id 'c' has taken the session over"
    assert LEAST_WAIT_S <= caught.value.retry_s <= 9


def test_what_looks_like_a_twin() -> None:
    """Three short connections in a row, ended by the broker, count as a takeover; a failed attempt in between resets this."""
    lost = Disconnected("lost")

    def suspected(*durations: float | None, client_id: str | None = "c") -> bool:
        detector = TakeoverDetector(client_id)
        return [detector.explain(lost, taken_over=False, lasted_s=lasted_s) for lasted_s in durations][-1].retry_s > 0

    assert suspected(0.2, 5.0, 9.9)
    assert suspected(0.2, 0.2, 0.2, 0.2)
    assert not suspected(0.2, 0.2)
    assert not suspected(0.2, 0.2, 60.0)
    assert not suspected(0.2, 0.2, None, 0.2)
    assert not suspected(0.2, 0.2, 60.0, 0.2, 0.2)
    assert not suspected(0.2, 0.2, 0.2, client_id=None)


@across
def test_the_same_client_id_twice(
    version: str, mosquitto: Mosquitto, redis_server: Redis, either_bridge: Bridges
) -> None:
    """Two bridges with one client_id log it and leave each other time; nothing is lost, and the survivor goes on."""
    feed = MqttFeed(mosquitto)
    bridges = [either_bridge(feed.config(redis_server, version=version)) for _ in range(2)]
    for bridge in bridges:
        wait_until(lambda bridge=bridge: _takeover_suspected(bridge, feed), 40, "a line about the other client")  # type: ignore[misc]
    since, before = time.monotonic(), _connected(bridges)
    for n in range(20):
        feed.publish([{"n": n}])
        time.sleep(0.7)
    wait_until(lambda: _connected(bridges) > before, 20, "a takeover")
    # The one that comes next has waited for some time already.
    takeovers = _connected(bridges) - before
    assert takeovers <= 1 + (time.monotonic() - since) / LEAST_WAIT_S
    assert bridges[0].running
    bridges[1].kill()
    with redis_server.client() as client:
        wait_until(lambda: {m["args"][0] for m in queue_messages(client, "default")} == set(range(20)), 15, "all")
    assert bridges[0].running


def _connected(bridges: list[BridgeProcess]) -> int:
    return sum(len(bridge.events("source.connected")) for bridge in bridges)


def _takeover_suspected(bridge: BridgeProcess, feed: MqttFeed) -> bool:
    # The bridge's guess, or the broker's word: mosquitto 2.0.21 tells it to MQTT 5.
    causes = (
        f"perhaps another client uses client_id '{feed.name}'",
        f"another client with client_id '{feed.name}' has taken",
    )
    return any(cause in line["cause"] for line in bridge.events("source.disconnected") for cause in causes)
