"""RabbitMQ streams: whatever producers have sent, and whatever else goes on, the position is right and the session holds."""

from __future__ import annotations

import asyncio
import itertools
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from bridge.config import Amqp, Dramatiq
from bridge.sources.amqp import stream as stream_module
from bridge.sources.amqp.consumer_check import ConsumerCheck
from bridge.sources.amqp.promise import STREAM_GUARANTEE
from bridge.sources.amqp.source import AmqpSource
from bridge.sources.amqp.stream import StreamPosition, StreamReader
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import AmqpStreamFeed
from tests.support.processes import Bridges, written_numbers


def _wait_for(sink: Redis, *numbers: int) -> None:
    wait_until(lambda: written_numbers(sink) == list(numbers), 60, f"the messages {numbers}")


def _field(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + b"S" + struct.pack(">I", len(value)) + value


def _table(*fields: bytes) -> bytes:
    table = b"".join(fields)
    return struct.pack(">I", len(table)) + table


_OFFSET = b"\x0fx-stream-offset" + b"l" + struct.pack(">q", 5000)
#: What a producer may send: flags, and values. RabbitMQ sorts headers by name, so these stand behind the offset.
_HOSTILE = {
    "a value that looks like the offset": b"\x20\x00" + _table(_field(b"z", _OFFSET)),
    "a header that is no UTF-8": b"\x20\x00" + _table(_field(b"\xe4nderung", b"1")),
    "a content type that is no UTF-8": b"\xa0\x00" + b"\x04te\xe9x" + _table(_field(b"zone", b"v")),
    "a message id that is no UTF-8": b"\x20\x80" + _table(_field(b"x-trace-id", b"v")) + b"\x04te\xe9x",
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_what_a_producer_sends_moves_no_position(
    stream: AmqpStreamFeed, redis_server: Redis, either_bridge: Bridges, name: str
) -> None:
    """Its event has its own offset, and the ones behind it come; also on a connection that looks at it, after a restart."""
    bridge = either_bridge(stream.config(redis_server)).ready()
    stream.publish_raw(b'{"n": 0}', _HOSTILE[name])
    stream.publish_numbers(1, 2)
    _wait_for(redis_server, 0, 1, 2)
    stream.publish_raw(b'{"n": 3}', _HOSTILE[name])
    _wait_for(redis_server, 0, 1, 2, 3)
    bridge.kill()
    bridge.start().ready()
    bridge.wait_for("source.connected")
    time.sleep(2.5)  # the look at the start comes after a second
    assert not bridge.events("source.disconnected")
    assert not bridge.events("source.stream_shorter")
    stream.publish_numbers(4)
    _wait_for(redis_server, 0, 1, 2, 3, 4)


@pytest.mark.parametrize("name", [next(iter(_HOSTILE)), "a content type that is no UTF-8"])
def test_new_behind_an_event_that_is_hard_to_read(
    stream: AmqpStreamFeed, redis_server: Redis, either_bridge: Bridges, name: str
) -> None:
    """The end is found all the same; nothing from before is written."""
    stream.publish_numbers(0, 1)
    stream.publish_raw(b'{"n": 2}', _HOSTILE[name])
    bridge = either_bridge(stream.config(redis_server, start="new")).ready()
    stream.publish_numbers(3)
    _wait_for(redis_server, 3)
    assert not bridge.events("source.disconnected")


def test_new_while_events_come(stream: AmqpStreamFeed, redis_server: Redis, either_bridge: Bridges) -> None:
    """The stream is never quiet for as long as its end is looked for; all the same it is read, from about now on."""
    stream.publish_numbers(*range(100))
    ended = threading.Event()

    def go_on() -> None:
        for n in itertools.count(100):
            stream.publish_numbers(n)
            if ended.wait(0.1):
                return

    publisher = threading.Thread(target=go_on)
    publisher.start()
    try:
        either_bridge(stream.config(redis_server, start="new", connect_timeout="5s")).ready()
        wait_until(lambda: len(written_numbers(redis_server)) > 20, 60, "events while they come")
    finally:
        ended.set()
        publisher.join()
    numbers = written_numbers(redis_server)
    assert numbers[0] >= 100
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _reader(**settings: Any) -> StreamReader:
    config = Amqp.model_validate({"type": "amqp", "url": "amqp://localhost", "queue": "q", "stream": True, **settings})
    position = StreamPosition("s", "/", "q", Dramatiq.model_validate({"url": "redis://localhost"}))
    return StreamReader("s", config, position)


async def test_an_end_that_is_not_shown_is_not_taken_for_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a slow broker would let `start: new` write the whole history. It is read from now on, and that is said."""

    async def find_end(*_: Any) -> None:
        return None

    monkeypatch.setattr(stream_module, "find_end", find_end)
    reader = _reader(start="new")
    said: list[str] = []
    monkeypatch.setattr(reader, "_say", lambda event, **_: said.append(event))
    assert await reader.begin(object(), "q", can_look=True) == {"x-stream-offset": "next"}
    assert said == ["source.start_unknown"]


async def test_a_look_has_the_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise events that the filter leaves out would look like a consumer that is lost."""
    asked: list[dict[str, Any]] = []

    async def look(*_: Any, **arguments: Any) -> None:
        asked.append(arguments)

    monkeypatch.setattr(stream_module, "look", look)
    reader = _reader(filter=["a"], match_unfiltered=True)
    assert await reader.find_lost(object()) == ""
    assert asked == [{"x-stream-filter": ["a"], "x-stream-match-unfiltered": True}]


async def test_a_jump_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new connection meets it again, if its events were not written."""

    async def look(*_: Any, **__: Any) -> int:
        return 100

    monkeypatch.setattr(stream_module, "look", look)
    monkeypatch.setattr(stream_module, "_LOOK_INTERVAL_S", 0.0)
    reader = _reader(start=5)
    reader._connection = object()
    for jump, deleted in (((5, 10), 5), ((5, 10), 5), ((5, 20), 15), ((20, 30), 25)):
        reader._note_jump(*jump)
        for _ in range(20):
            await asyncio.sleep(0)
        assert reader.missed.events == deleted


async def test_a_position_begins_once(stream: AmqpStreamFeed, redis_server: Redis) -> None:
    """Of two first starts, the second one begins where the first one has; each source of each virtual host has its own."""
    dramatiq = Dramatiq.model_validate({"url": redis_server.url_of(0)})
    position = StreamPosition("feed", "/", stream.name, dramatiq)
    assert [await position.begin(3), await position.begin(7), await position.read()] == [3, 3, 3]
    for other in (("feed", "other", stream.name), ("other", "/", stream.name), ("feed", "/", "other")):
        assert await StreamPosition(*other, dramatiq).read() is None


def test_a_user_with_one_channel(stream: AmqpStreamFeed, redis_server: Redis, either_bridge: Bridges) -> None:
    """RabbitMQ does not announce this limit: it costs one connection, and then the events flow."""
    name = f"one-{stream.name}"
    stream.broker.ctl("add_user", name, "one")
    stream.broker.ctl("set_permissions", name, ".*", ".*", ".*")
    stream.broker.ctl("set_user_limits", name, '{"max-channels": 1}')
    url = stream.broker.url.replace("guest:guest", f"{name}:one")
    stream.publish_numbers(0)
    config = stream.config(redis_server, url=url, start="new")
    bridge = either_bridge(config).ready()
    bridge.wait_for("source.consumer_unchecked", source="feed")
    stream.publish_numbers(1)
    _wait_for(redis_server, 1)
    bridge.kill()
    bridge.start().ready()
    bridge.wait_for("source.connected", source="feed", times=2)
    time.sleep(3)
    assert len(bridge.events("source.connected")) == 2
    stream.publish_numbers(2)
    _wait_for(redis_server, 1, 2)


async def test_a_quiet_stream_that_nobody_has_declared(
    stream: AmqpStreamFeed, redis_server: Redis, fast_path: bool
) -> None:
    """Before any event has come, RabbitMQ's count of no consumers says that the queue is a stream, and not that ours is lost."""
    settings = {"type": "amqp", "url": stream.broker.url, "queue": stream.name, "fast_path": fast_path}
    dramatiq = Dramatiq.model_validate({"url": redis_server.url_of(0)})
    source = AmqpSource("feed", Amqp.model_validate(settings), dramatiq, consumer_check=ConsumerCheck(stream.name, 0.3))
    async with source.connect() as session:
        await asyncio.sleep(3)
        assert not session.ended
        assert source._promise.guarantee == STREAM_GUARANTEE


def test_a_position_that_is_overwritten_is_named(
    stream: AmqpStreamFeed, redis_server: Redis, new_bridge: Callable[..., Any]
) -> None:
    """Nothing is written until the key is mended, and then everything is."""
    bridge = new_bridge(stream.config(redis_server)).ready()
    stream.publish_numbers(0)
    _wait_for(redis_server, 0)
    key = f'dramatiq-bridge:position:["amqp", "feed", "/", "{stream.name}"]'
    with redis_server.client() as client:
        client.set(key, "tomorrow")
        stream.publish_numbers(1)
        cause = bridge.wait_for("sink.unavailable")["cause"]
        assert key in cause
        assert "holds no position" in cause
        client.set(key, 1)
    _wait_for(redis_server, 0, 1)
