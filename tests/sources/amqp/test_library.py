"""The limits of the AMQP library that the bridge lifts: they are still there, and lifted on both paths."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp import frame as pamqp
from pamqp.commands import Channel, Connection, Queue
from pydantic import ValidationError

from bridge.config import Amqp
from bridge.errors import Disconnected
from bridge.sources.amqp.consumer_check import ConsumerCheck, says_gone
from bridge.sources.amqp.library import COMMANDS, capabilities, lift_limits
from bridge.sources.amqp.source import AmqpSource
from tests.support.amqp_wire import NOWHERE, Broker, message

QUIET_S = 0.1
#: The words of brokers for a queue that is not there: RabbitMQ, Qpid Broker-J.
GONE = ("NOT_FOUND - no queue 'q' in vhost '/'", "Queue: 'q' not found on VirtualHost 'default'.")
#: RabbitMQ's words for a queue that is there, and cannot be reached for a moment.
UNREACHABLE = (
    "NOT_FOUND - home node 'rabbit@a' of durable queue 'q' in vhost '/' is down or inaccessible",
    "NOT_FOUND - failed to perform operation on queue 'q' in vhost '/' due to timeout",
    "NOT_FOUND - queue 'q' in vhost '/' process is stopped by supervisor",
    "NOT_FOUND - queue 'q' in vhost '/' has crashed and failed to restart",
)
#: Run by itself, since a test before may have lifted the limits. It prints the limits that the libraries do not have.
LIMITS = """
import asyncio

import aiormq
from pamqp.commands import Basic, Connection, Exchange, Queue

def is_accepted(make):
    try:
        make()
    except (ValueError, KeyError):
        return False
    return True

async def capabilities():
    connection = aiormq.Connection("amqp://localhost/")
    connection.server_properties = {}
    return connection.basic_nack

accepted = {
    "queue names": lambda: Queue.Declare(queue="a|b"),
    "queue names, bound": lambda: Queue.Bind(queue="a|b"),
    "queue names, consumed": lambda: Basic.Consume(queue="a|b"),
    "exchange names": lambda: Exchange.Declare(exchange="a|b"),
    "exchange names, bound": lambda: Queue.Bind(exchange="a|b"),
    "exchanges of more than 127 characters": lambda: Exchange.Declare(exchange="e" * 128),
    "virtual hosts of more than 127 characters": lambda: Connection.Open(virtual_host="h" * 128),
    "brokers without capabilities": lambda: asyncio.run(capabilities()),
}
print([name for name, make in accepted.items() if is_accepted(make)])
"""


def test_the_library_still_has_these_limits() -> None:
    """If this fails the AMQP library takes these by itself: `lift_limits` need not lift that limit any more."""
    done = subprocess.run([sys.executable, "-c", LIMITS], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_a_name_is_what_the_wire_holds() -> None:
    """Each command takes and encodes names of 255 bytes of UTF-8, and refuses longer ones, whatever is in them."""
    lift_limits()
    lift_limits()
    for command in COMMANDS:
        attribute = next(name for name in ("virtual_host", "queue", "exchange") if name in command.attributes())
        for name in ("a|b", "ü" * 127 + "x", "\0"):
            sent = pamqp.marshal(command(**{attribute: name}), 0)
            assert bytes([len(name.encode())]) + name.encode() in sent
            received: Any = pamqp.unmarshal(sent)[2]
            assert received[attribute] == name
        with pytest.raises(TypeError, match="255"):
            pamqp.marshal(command(**{attribute: "ü" * 128}), 0)


@pytest.mark.parametrize("nest", [lambda table: table, lambda table: {"t": table}, lambda table: {"t": [1, table]}])
def test_the_names_of_arguments_are_sent_whole(nest: Callable[[Any], Any]) -> None:
    """Names of 128 bytes are, at any depth; the library cuts longer ones, so the configuration takes none."""
    longest, longer = "ü" * 64, "ü" * 64 + "x"
    settings = {"type": "amqp", "url": "amqp://localhost", "queue": "q"}
    source = Amqp.model_validate({**settings, "declare": {"arguments": nest({longest: 1})}})
    assert source.declare is not None
    sent = pamqp.marshal(Queue.Declare(queue="q", arguments=source.declare.arguments), 1)
    assert bytes([128]) + longest.encode() in sent
    assert longer.encode() not in pamqp.marshal(Queue.Declare(queue="q", arguments=nest({longer: 1})), 1)
    with pytest.raises(ValidationError, match="at most 128 bytes"):
        Amqp.model_validate({**settings, "declare": {"arguments": nest({longer: 1})}})


@pytest.mark.parametrize("announced", [None, "none", {}])
def test_capabilities_are_a_table_or_none(announced: object) -> None:
    """A broker that announces nothing, or no table, has no capability."""
    assert capabilities({"capabilities": announced} if announced is not None else {}) == {}


def _silent(properties: Any) -> Broker:
    """A broker that introduces itself with these properties; its queue has no consumer."""
    greeting = pamqp.marshal(Connection.Start(0, 9, properties), 0)
    return Broker([message(1, b"one")], greeting=greeting, found=(Queue.DeclareOk("q", 0, 0),))


def _source(broker: Broker, quiet_s: float, *, fast_path: bool) -> AmqpSource:
    url = f"amqp://127.0.0.1:{broker.port}"
    config = Amqp.model_validate({"type": "amqp", "url": url, "queue": "q", "fast_path": fast_path})
    return AmqpSource("feed", config, NOWHERE, consumer_check=ConsumerCheck("q", quiet_s))


@pytest.mark.parametrize("properties", [{}, {"capabilities": "none"}, {"capabilities": {}}], ids=str)
async def test_a_broker_without_capabilities(
    fast_path: bool, properties: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Events come and are acknowledged on every connection; once it is said that a deleted queue is noticed late."""
    broker = _silent(properties)
    async with broker.serve():
        source = _source(broker, 60.0, fast_path=fast_path)
        for count in (1, 2):
            async with source.connect() as session:
                await session.acknowledge(await session.receive())
                await session.pause()
            assert broker.acknowledged == [(1, True)] * count
    assert capsys.readouterr().out.count("source.cancel_unannounced") == 1


async def test_a_consumer_that_ends_without_a_word(fast_path: bool) -> None:
    """Where the broker announces no cancel, the check finds that the consumer is gone, and the session ends with the cause."""
    broker = _silent({})
    async with (
        broker.serve(),
        asyncio.timeout(60),
        _source(broker, QUIET_S, fast_path=fast_path).connect() as session,
    ):
        await session.acknowledge(await session.receive())
        with pytest.raises(Disconnected, match="has no consumer any more"):
            await session.receive()


def _refusal(words: str) -> Channel.Close:
    return Channel.Close(404, words, 50, 10)


@pytest.mark.parametrize("words", GONE)
async def test_a_queue_that_is_gone_without_a_word(fast_path: bool, words: str) -> None:
    """The check of the consumer notices it, by whatever words the broker says that it has no such queue."""
    broker = Broker([message(1, b"one")], found=(Queue.DeclareOk("q", 0, 1), _refusal(words)))
    async with (
        broker.serve(),
        asyncio.timeout(60),
        _source(broker, QUIET_S, fast_path=fast_path).connect() as session,
    ):
        await session.acknowledge(await session.receive())
        with pytest.raises(Disconnected, match="queue 'q' is gone"):
            await session.receive()


@pytest.mark.parametrize("words", UNREACHABLE)
async def test_a_queue_that_is_unreachable_is_not_gone(fast_path: bool, words: str) -> None:
    """The session goes on: the connection has a watchdog of its own."""
    broker = Broker([message(1, b"one")], found=(Queue.DeclareOk("q", 0, 1), _refusal(words)))
    async with broker.serve(), _source(broker, QUIET_S, fast_path=fast_path).connect() as session:
        await session.acknowledge(await session.receive())
        await asyncio.sleep(10 * QUIET_S)
        assert not session.ended


@pytest.mark.parametrize(
    ("words", "said"), [*((gone, True) for gone in GONE), *((down, False) for down in UNREACHABLE)]
)
async def test_a_queue_that_does_not_exist(words: str, said: bool) -> None:
    """A connection says what to do where there is no queue, and the broker's own words where it is only unreachable."""
    broker = Broker([], found=(_refusal(words),))
    async with broker.serve():
        with pytest.raises(Disconnected) as caught:
            async with _source(broker, QUIET_S, fast_path=True).connect():
                pass
    assert ("queue 'q' does not exist: declare it at the broker" in str(caught.value)) == said
    assert (words in str(caught.value)) != said


@pytest.mark.parametrize("name", ["i", "is down", "inaccessible"])
def test_the_name_of_a_queue_says_nothing(name: str) -> None:
    """A queue may be called like a word of the broker's, or a part of one."""
    for words in GONE:
        assert says_gone(ChannelNotFoundEntity(words.replace("'q'", f"'{name}'")), name)
    for words in UNREACHABLE:
        assert not says_gone(ChannelNotFoundEntity(words.replace("'q'", f"'{name}'")), name)
