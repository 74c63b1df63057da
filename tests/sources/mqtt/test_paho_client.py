"""Both ways to use paho, by the same tests, against a scripted broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import structlog
from paho.mqtt import client as paho

from bridge.errors import BadEvent
from bridge.sources.mqtt.overlap import OverlapIds
from bridge.sources.mqtt.paho_client import self_test
from bridge.sources.mqtt.session import MqttSession
from tests.sources.mqtt.test_packets import MALFORMED, UNREADABLE, packed, packet, publish
from tests.support.certificates import Certificates
from tests.support.mqtt_wire import Script, cause_of_the_end, connected, receive


async def test_acknowledged_in_order(fast_path: bool) -> None:
    """Events are acknowledged in the order received, each once, also in several batches; those at QoS 0 never."""
    async with connected(fast_path) as (script, session):
        script.say(*[publish("t", b"%d" % n, n if n % 3 else 0) for n in range(1, 1000)])
        events = await receive(session, 999)
        assert [event.body for event in events] == [b"%d" % n for n in range(1, 1000)]
        for batch in (events[:1], events[1:300], events[300:302], events[302:]):
            await session.acknowledge(batch)
        assert await script.acknowledged(666) == [n for n in range(1, 1000) if n % 3]


async def test_copies_are_acknowledged_with_their_event(fast_path: bool) -> None:
    """Copies that several subscriptions bring are one event; each copy is acknowledged after the event, in order."""
    async with connected(fast_path, "a/+", "+/b") as (script, session):
        numbers = sorted(OverlapIds(["a/+", "+/b"]).by_filter.values())
        first, second = (packed(SubscriptionIdentifier=number) for number in numbers)
        script.say(publish("a/b", b"0", 1, second))  # a copy whose event is acknowledged, or went to another client
        assert await script.acknowledged(1) == [1]
        script.received.clear()
        for n in range(2, 8, 3):
            script.say(publish("a/b", b"%d" % n, n, first), publish("a/b", b"%d" % n, n + 1, second))
            script.say(publish("a/b", b"q0", 0, first), publish("a/b", b"%d" % n, n + 2, second))
        events = await receive(session, 4)
        assert [event.body for event in events] == [b"2", b"q0", b"5", b"q0"]
        await session.acknowledge(events[:2])
        assert await script.acknowledged(3) == [2, 3, 4]
        await session.acknowledge(events[2:])
        assert await script.acknowledged(6) == [2, 3, 4, 5, 6, 7]
        script.say(publish("a/b", b"late", 8, second))
        assert await script.acknowledged(7) == [2, 3, 4, 5, 6, 7, 8]


async def test_copies_that_come_again(fast_path: bool) -> None:
    """After a lost connection an event is still one event, whichever copies are redelivered, and it is marked so."""
    first, second = (packed(SubscriptionIdentifier=n) for n in OverlapIds(["a/+", "+/b"]).by_filter.values())
    async with connected(fast_path, "a/+", "+/b") as (script, session):
        script.say(publish("a/b", b"1", 1, first), publish("a/b", b"1", 2, second))
        (event,) = await receive(session, 1)
        assert not event.redelivered
        await script.hang_up()
        await cause_of_the_end(session)
        await session.acknowledge([event])  # too late
    async with connected(fast_path, "a/+", "+/b") as (script, session):
        both = [publish("a/b", b"1", n, properties, flags=8) for n, properties in enumerate((first, second), 1)]
        script.say(*both, publish("a/b", b"2", 4, second, flags=8), publish("a/b", b"3", 5, first))
        events = await receive(session, 2)
        assert [(event.body, event.redelivered) for event in events] == [(b"1", True), (b"3", False)]
        await session.acknowledge(events)
        assert await script.acknowledged(4) == [1, 2, 4, 5]


@pytest.mark.parametrize("case", [*UNREADABLE, "a byte order mark", "a NUL"])
async def test_properties_that_cannot_be_read_end_nothing(fast_path: bool, case: str) -> None:
    """A message with properties that paho can't read is an event like any other; only its details may be refused."""
    odd = {"a byte order mark": b"\x26\x00\x01a\x00\x03\xef\xbb\xbf", "a NUL": b"\x03\x00\x01\x00"}
    async with connected(fast_path) as (script, session):
        script.say(publish("t", b"1", 1, UNREADABLE.get(case) or odd[case]), publish("t", b"2", 2))
        events = await receive(session, 2)
        assert [(event.body, event.token) for event in events] == [(b"1", b"\x00\x01"), (b"2", b"\x00\x02")]
        if case in UNREADABLE:
            with pytest.raises(BadEvent, match="a property can't be read") as caught:
                events[0].details()
            assert caught.value.reason == "decode"
        else:
            headers, meta = events[0].details()
            assert (headers, meta["content_type"]) in [({"a": "\ufeff"}, None), ({}, "\x00")]
        await session.acknowledge(events)
        assert await script.acknowledged(2) == [1, 2]


#: In these cases paho waits for the rest of the packet, or reports no error.
ONLY_OURS = ("a large packet that is no message", "a length of five bytes")
ENDS = [(fast, case) for fast in (True, False) for case in MALFORMED if fast or case not in ONLY_OURS]


@pytest.mark.parametrize(("fast_path", "case"), ENDS)
async def test_what_is_not_mqtt_ends_the_session(fast_path: bool, case: str) -> None:
    """Bytes that no broker may send end the session with a cause; events at QoS 0 before them are not lost."""
    data, problem = MALFORMED[case]
    async with connected(fast_path) as (script, session):
        script.say(publish("t", b"1"), data)
        assert [event.body for event in await receive(session, 1)] == [b"1"]
        cause = await cause_of_the_end(session)
        assert cause.startswith("the broker sent what is not MQTT: ")
        assert problem in cause
        assert session.ended


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n" * 9, b"\x00" * 50, b"\xf0\x00", b"\x82\x00"])
async def test_garbage_ends_the_session(fast_path: bool, data: bytes) -> None:
    """A server that speaks another protocol ends the session, with a cause."""
    async with connected(fast_path) as (script, session):
        script.say(data)
        assert await cause_of_the_end(session)


async def test_the_end_is_noticed(fast_path: bool) -> None:
    """A connection that the broker closes, with or without a DISCONNECT, ends the session with its cause."""
    async with connected(fast_path) as (script, session):
        await script.hang_up()
        assert await cause_of_the_end(session) == "the connection was lost"
    async with connected(fast_path) as (script, session):
        script.say(publish("t", b"1"), packet(0xE0, b"\x8b\x00"))
        assert [event.body for event in await receive(session, 1)] == [b"1"]
        assert await cause_of_the_end(session) == "the broker disconnected: Server shutting down"


async def test_pings_are_answered_under_load(fast_path: bool) -> None:
    """Pings and their answers, which are paho's, work while messages flow."""
    async with connected(fast_path, keepalive="2s") as (script, session):

        async def load() -> None:
            while True:
                script.say(publish("t", b"1"))
                await asyncio.sleep(0.02)

        flow = asyncio.create_task(load())
        try:
            while script.pinged < 3:
                await session.acknowledge(await receive(session, 1))
            assert not session.ended
        finally:
            flow.cancel()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_the_window_is_kept(fast_path: bool, secure: bool, certificates: Certificates) -> None:
    """However much the broker sends at once, at most twice the window is held, and nothing is lost."""
    tls = certificates if secure else None
    async with connected(fast_path, window={"events": 10}, secure=tls) as (script, session):
        script.say(*[publish("t", b"%d" % n, n) for n in range(1, 500)])
        bodies: list[bytes] = []
        while len(bodies) < 499:
            events = await session.receive()
            await asyncio.sleep(0)
            assert session._window.held <= 20
            bodies += [event.body for event in events]
            await session.acknowledge(events)
        assert bodies == [b"%d" % n for n in range(1, 500)]
        assert await script.acknowledged(499) == list(range(1, 500))


async def test_over_tls(fast_path: bool, certificates: Certificates) -> None:
    """Over TLS small and large messages arrive whole and in order, however TLS spreads them over its records."""
    bodies = [b"%d" % n * (1 if n % 500 else 50_000) for n in range(1, 3001)]
    async with connected(fast_path, secure=certificates, window={"events": 5000, "bytes": "1MiB"}) as (script, session):
        script.say(*[publish("t", body, n) for n, body in enumerate(bodies[:2000], 1)])
        for n, body in enumerate(bodies[2000:], 2001):
            script.say(publish("t", body, n))
        received: list[bytes] = []
        while len(received) < 3000:
            events = await session.receive()
            received += [event.body for event in events]
            await session.acknowledge(events)
        assert received == bodies
        assert await script.acknowledged(3000) == list(range(1, 3001))


async def test_qos_2_which_nobody_asked_for(fast_path: bool) -> None:
    """A message of QoS 2 gets from paho the answers that the protocol demands; messages around it flow."""
    async with connected(fast_path) as (script, session):
        script.say(publish("t", b"1"), packet(0x34, b"\x00\x01t\x00\x07\x00twice"), publish("t", b"2"))
        assert [event.body for event in await receive(session, 2)] == [b"1", b"2"]
        await script.until(b"\x50\x02\x00\x07")  # PUBREC
        script.say(b"\x62\x02\x00\x07")  # PUBREL
        (event,) = await receive(session, 1)
        assert (event.body, event.details()[1]["qos"]) == (b"twice", 2)


@pytest.fixture
def untested() -> Iterator[None]:
    """Forget the result of this process's self-test, before and after."""
    self_test.cache_clear()
    yield
    self_test.cache_clear()


async def test_another_paho_is_used_as_it_is(untested: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a paho that the fast path can't use, one log line says so, and the library's own path does the work."""
    with monkeypatch.context() as release, structlog.testing.capture_logs() as logs:
        # Like a release that queues its packets elsewhere.
        release.setattr(paho.Client, "_packet_queue", lambda *_: paho.MQTT_ERR_SUCCESS)
        async with connected_after(release) as (script, session):
            script.say(publish("t", b"1", 1))
            events = await receive(session, 1)
            await session.acknowledge(events)
            assert await script.acknowledged(1) == [1]
    (line,) = [log for log in logs if log["event"] == "source.fast_path_unavailable"]
    assert line["source"] == "s"
    assert line["cause"]


@asynccontextmanager
async def connected_after(release: pytest.MonkeyPatch) -> AsyncIterator[tuple[Script, MqttSession]]:
    """A session after a failed self-test, with the real paho again."""
    assert self_test()
    release.undo()
    async with connected(True) as both:
        yield both


def test_this_paho_is_the_expected_one(untested: None) -> None:
    """The installed paho passes the self-test: a release that does not is noticed here first."""
    assert self_test() == ""


async def test_messages_that_keep_coming_are_life(fast_path: bool) -> None:
    """While messages arrive, the connection is alive, although the answer to a ping is late."""
    async with connected(fast_path, keepalive="2s") as (script, session):
        script.pings = False
        for number in range(30):
            script.say(publish("t", b"%d" % number))
            assert [event.body for event in await receive(session, 1)] == [b"%d" % number]
            await asyncio.sleep(0.2)
        assert not session.ended
