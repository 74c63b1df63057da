"""The limits of the AMQP library that the bridge lifts: they are still there, and lifted on both paths."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from pamqp import frame as pamqp
from pamqp.commands import Connection, Queue

from bridge.config import Amqp
from bridge.errors import Disconnected
from bridge.sources.amqp.consumer_check import ConsumerCheck
from bridge.sources.amqp.library import COMMANDS, capabilities, lift_limits
from bridge.sources.amqp.source import AmqpSource
from tests.support.amqp_wire import NOWHERE, Broker, message

QUIET_S = 0.1
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
        asyncio.timeout(20),
        _source(broker, QUIET_S, fast_path=fast_path).connect() as session,
    ):
        await session.acknowledge(await session.receive())
        with pytest.raises(Disconnected, match="has no consumer any more"):
            await session.receive()
