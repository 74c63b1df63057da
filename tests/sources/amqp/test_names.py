"""Names of queues, exchanges, routing keys and virtual hosts: the broker decides about each, shown on a real RabbitMQ."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from pamqp.base import Frame
from pamqp.commands import Basic

from bridge.sources.amqp.library import lift_limits
from tests.faults.proxy import Proxy
from tests.support.brokers import RabbitMQ, Redis
from tests.support.children import wait_until
from tests.support.processes import BridgeProcess, Bridges, queue_messages

#: Legal names of AMQP 0-9-1, most of which the AMQP library refuses by itself.
NAMES = (
    *("ünï", "a|b", "orders[1]", "{tenant}.q", "a*b", "x=y", "a;b", "(a)", "a'b", 'a"b', "a\\b", "a!b", "a?b", "a%20b"),
    *("a&b", "$a", "~a^`", "<a>", "日本語", "a.b.c", "/a//b", "\N{ROCKET}", "a b", " ", "#", "*", "\0", "a\tb", "\x7f"),
    *("x" * 255, "ü" * 127 + "x", "\N{ROCKET}" * 63 + "abc"),
)
DEAD = "dead letters of all"
#: With 32 characters of its own, the name of a virtual host has 255 bytes.
LONG_HOST = "ü{x}|" * 37 + "a"


class Host:
    """A virtual host of the test's own, with a long and odd name."""

    def __init__(self, rabbit: RabbitMQ, port: int) -> None:
        self.name = LONG_HOST + uuid.uuid4().hex
        self._rabbit = rabbit
        path = quote(self.name, safe="")
        self.url = f"{rabbit.url}/{path}"
        self.proxy_url = self.url.replace(f":{rabbit.port}/", f":{port}/")

    def make(self) -> None:
        """Make it; rabbitmqctl's own arguments would be ASCII."""
        permissions = (
            'rabbit_auth_backend_internal:set_permissions(<<"guest">>, V, <<".*">>, <<".*">>, <<".*">>, <<"t">>)'
        )
        name = f"<<{','.join(map(str, self.name.encode()))}>>"
        self._rabbit.ctl("eval", f'V = {name}, rabbit_vhost:add(V, <<"t">>), {permissions}.')

    def work(self, work: Callable[[AbstractChannel], Any]) -> None:
        """Call `work` with a channel; what is published on it is confirmed."""

        async def run() -> None:
            async with await aio_pika.connect(self.url) as connection, connection.channel() as channel:
                await work(channel)

        asyncio.run(run())


@pytest.fixture
def proxy(rabbitmq: RabbitMQ) -> Iterator[Proxy]:
    """Between the bridge and RabbitMQ."""
    with Proxy(rabbitmq.port) as proxy:
        yield proxy


@pytest.fixture
def host(rabbitmq: RabbitMQ, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A virtual host; the test's own client may name everything too."""
    lift_limits()
    monkeypatch.setattr(Basic.Publish, "validate", Frame.validate)
    host = Host(rabbitmq, proxy.port)
    host.make()
    return host


def _config(sink: Redis, host: Host, sources: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One source and one route for each; the message has the number of the source, the topic and the payload."""
    common = {"type": "amqp", "url": host.proxy_url}
    routes = [{"from": f"s{n}", "actor": "record", "args": [n, "$topic", "$payload.n"]} for n in range(len(sources))]
    named = {f"s{n}": {**common, **source} for n, source in enumerate(sources)}
    return {"dramatiq": {"url": sink.url_of(0)}, "sources": named, "routes": routes}


def _wait_for(sink: Redis, number: int) -> None:
    """Wait for the event `number` of each name; one may come twice where its acknowledgement was on its way."""
    expected = {(place, name, n) for place, name in enumerate(NAMES) for n in range(number + 1)}

    def found() -> set[tuple[Any, ...]]:
        with sink.client() as client:
            return {tuple(message["args"]) for message in queue_messages(client, "default")}

    wait_until(lambda: len(found()) >= len(expected), 30, f"{len(expected)} messages")
    assert found() == expected


async def _publish_all(channel: AbstractChannel, n: int, *, to_exchanges: bool = False) -> None:
    """Publish an event for each name to the default exchange, or to the exchange of this name."""
    for name in NAMES:
        exchange = await channel.get_exchange(name, ensure=False) if to_exchanges else channel.default_exchange
        await exchange.publish(aio_pika.Message(json.dumps({"n": n}).encode(), delivery_mode=2), name)


def _reconnect(proxy: Proxy, bridge: BridgeProcess) -> None:
    """Cut all connections, and wait until each source is connected again."""
    proxy.reset()
    for number in range(len(NAMES)):
        bridge.wait_for("source.connected", source=f"s{number}", times=2)


def test_queues_of_every_name(host: Host, proxy: Proxy, redis_server: Redis, either_bridge: Bridges) -> None:
    """Of a queue with any legal name every event comes, with its name as the topic, after a lost connection too."""

    async def declare(channel: AbstractChannel) -> None:
        for name in NAMES:
            await channel.declare_queue(name, durable=True)

    host.work(declare)
    bridge = either_bridge(_config(redis_server, host, [{"queue": name} for name in NAMES])).ready()
    host.work(lambda channel: _publish_all(channel, 0))
    _wait_for(redis_server, 0)
    _reconnect(proxy, bridge)
    host.work(lambda channel: _publish_all(channel, 1))
    _wait_for(redis_server, 1)


def _declaring(name: str) -> dict[str, Any]:
    # Of a direct exchange, where # and * in a key mean themselves.
    letters = {"x-dead-letter-exchange": name, "x-dead-letter-routing-key": DEAD, "x-max-length": 1}
    return {"queue": name, "declare": {"exchange": name, "type": "direct", "bindings": [name], "arguments": letters}}


def test_declared_names(host: Host, proxy: Proxy, redis_server: Redis, either_bridge: Bridges) -> None:
    """`declare:` makes queue, exchange, binding and dead-letter exchange of any legal name, again after a lost connection."""
    bridge = either_bridge(_config(redis_server, host, [_declaring(name) for name in NAMES]))
    for number in range(len(NAMES)):
        bridge.wait_for("source.connected", source=f"s{number}")
    host.work(lambda channel: _publish_all(channel, 0, to_exchanges=True))
    _wait_for(redis_server, 0)
    _reconnect(proxy, bridge)
    host.work(lambda channel: _publish_all(channel, 1, to_exchanges=True))
    _wait_for(redis_server, 1)
    bridge.terminate()
    assert bridge.wait() == 0
    host.work(_check_dead_letters)


async def _check_dead_letters(channel: AbstractChannel) -> None:
    """Fill each queue: the first message goes to its dead-letter exchange."""
    dead = await channel.declare_queue(DEAD)
    for name in NAMES:
        await dead.bind(name, DEAD)
    for _ in range(2):
        await _publish_all(channel, 2, to_exchanges=True)
    assert (await channel.declare_queue(DEAD, passive=True)).declaration_result.message_count == len(NAMES)
