"""Brokers with limits of their own, and old ones: each limit that takes something from the promise is said once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bridge.config import Amqp
from bridge.errors import Disconnected
from bridge.sources.amqp.consumer_check import ConsumerCheck
from bridge.sources.amqp.source import AmqpSource
from tests.faults.proxy import Proxy
from tests.support.amqp_wire import NOWHERE
from tests.support.brokers import RabbitMQ, Redis
from tests.support.feeds import AmqpFeed
from tests.support.processes import Bridges
from tests.support.reconnecting import reconnect_and_flow

_QUIET_S = 0.2


def _source(feed: AmqpFeed, *, fast_path: bool) -> AmqpSource:
    config = Amqp.model_validate({**feed.source, "fast_path": fast_path})
    return AmqpSource("feed", config, NOWHERE, consumer_check=ConsumerCheck(feed.name, _QUIET_S))


@contextmanager
def one_channel(rabbit: RabbitMQ) -> Iterator[None]:
    """Let the user have one channel; AMQP does not announce it."""
    rabbit.ctl("set_user_limits", rabbit.user or "", '{"max-channels": 1}')
    yield
    rabbit.ctl("clear_user_limits", rabbit.user or "", "all")


async def test_one_channel_for_each_connection_is_enough(
    new_rabbitmq: Callable[..., RabbitMQ], capsys: pytest.CaptureFixture[str]
) -> None:
    """With `channel_max = 1` the connection stays: the consumer is not checked, which is said once on both paths."""
    rabbit = await asyncio.to_thread(new_rabbitmq, {"channel_max": "1"})
    feed = AmqpFeed(rabbit)
    await asyncio.to_thread(feed.prepare)
    for fast_path in (True, False):
        source = _source(feed, fast_path=fast_path)
        capsys.readouterr()
        for _ in range(2):
            async with source.connect() as session:
                await asyncio.sleep(10 * _QUIET_S)
                assert not session.ended
                await asyncio.to_thread(feed.publish, [{"n": 1}])
                await session.acknowledge(await session.receive())
        assert capsys.readouterr().out.count("source.consumer_unchecked") == 1


async def test_a_user_with_one_channel_loses_one_connection(rabbitmq: RabbitMQ, fast_path: bool) -> None:
    """A limit that is not announced is found by the first check; the next connection stays."""
    feed = AmqpFeed(rabbitmq)
    await asyncio.to_thread(feed.prepare)
    source = _source(feed, fast_path=fast_path)
    with one_channel(rabbitmq):
        async with source.connect() as session, asyncio.timeout(60):
            with pytest.raises(Disconnected, match="number of channels"):
                await session.receive()
        async with source.connect() as session:
            await asyncio.sleep(10 * _QUIET_S)
            assert not session.ended


async def test_a_refused_channel_is_learned_where_a_cancel_is_explained(rabbitmq: RabbitMQ, fast_path: bool) -> None:
    """Before any check of the consumer: the next connection opens no other channel and is not ended for it."""
    feed = AmqpFeed(rabbitmq)
    await asyncio.to_thread(feed.prepare)
    check = ConsumerCheck(feed.name)
    config = Amqp.model_validate({**feed.source, "fast_path": fast_path})
    with one_channel(rabbitmq):
        async with AmqpSource("feed", config, NOWHERE, consumer_check=check).connect() as session, asyncio.timeout(60):
            connection = session._channel.connection
            assert check.is_possible(connection)
            await asyncio.to_thread(rabbitmq.ctl, "delete_queue", feed.name)
            with pytest.raises(Disconnected):
                await session.receive()
            assert not check.is_possible(connection)


def older(data: bytes) -> bytes:
    """Return Connection.Start with a version 3.0 in the place of its own, of the same length."""
    return re.sub(
        rb"(\x07versionS\x00\x00\x00.)\d+\.(\d+)", lambda found: found[1] + b"3." + b"0" * len(found[2]), data
    )


def test_an_old_rabbitmq_is_said_once(rabbitmq: RabbitMQ, redis_server: Redis, either_bridge: Bridges) -> None:
    """A version before the oldest that is supported is a warning; events flow, and a new connection says it no more."""
    feed = AmqpFeed(rabbitmq)
    feed.prepare()
    with Proxy(rabbitmq.port) as proxy:
        proxy.rewrite = older
        url = rabbitmq.url.replace(str(rabbitmq.port), str(proxy.port))
        bridge = either_bridge(feed.config(redis_server, url=url)).ready()
        said = bridge.wait_for("source.old_server", source="feed", level="warning")
        assert re.match(r"RabbitMQ 3\.0+\.\d+ is older than 3\.8, the oldest supported", said["cause"])
        reconnect_and_flow(proxy, bridge, feed, redis_server)
        assert len(bridge.events("source.old_server")) == 1
