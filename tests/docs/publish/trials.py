"""What each publish recipe has to do: fail where the broker takes no event, and else hand it to the bridge, once.

The bridge is away while a recipe publishes, twice: so the event has to be kept by the broker, and has to be known again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import aio_pika
import yaml

from tests.docs.publish.recipes import EVENT, MESSAGE_ID, Recipe
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.children import free_port, wait_until
from tests.support.documents import blocks, page
from tests.support.processes import BridgeProcess, Bridges, queue_messages

#: The bridge's file on the page, whose three sources read the three kinds of recipes.
CONFIG: Final = blocks(page("publish"), "yaml")[0].text
_QUEUE: Final = "orders"


def try_amqp(recipe: Recipe, rabbitmq: RabbitMQ, sink: Redis, new_bridge: Bridges) -> None:
    """A queue that is missing or full refuses; the event is persistent, has its id, and becomes one message."""
    assert recipe.is_refused(f"amqp://guest:guest@127.0.0.1:{free_port()}")
    asyncio.run(_delete(rabbitmq))
    assert recipe.is_refused(rabbitmq.url)
    full = {"x-max-length": 0, "x-overflow": "reject-publish"}
    asyncio.run(_declare(rabbitmq, full))
    assert recipe.is_refused(rabbitmq.url)
    asyncio.run(_delete(rabbitmq))
    try:
        asyncio.run(_declare(rabbitmq, {}))
        recipe.publish(rabbitmq.url)
        recipe.publish(rabbitmq.url)
        asyncio.run(_look(rabbitmq))
        bridge = new_bridge(_config("queue", rabbitmq.url, sink)).ready()
        bridge.wait_for("event.duplicate", key=MESSAGE_ID)
        _see_one_message(bridge, sink)
    finally:
        asyncio.run(_delete(rabbitmq))


def try_mqtt(recipe: Recipe, new_mosquitto: Callable[..., Mosquitto], sink: Redis, new_bridge: Bridges) -> None:
    """A topic that nobody reads refuses, or a broker that does; the broker keeps the event for a bridge that is away."""
    # A broker of its own: in the shared one a session of another test may read every topic.
    mosquitto = new_mosquitto()
    assert recipe.is_refused(f"mqtt://127.0.0.1:{free_port()}")
    if recipe.is_told:
        assert recipe.is_refused(mosquitto.url)
    bridge = new_bridge(_config("topic", mosquitto.url, sink)).ready()
    bridge.terminate()
    bridge.wait()
    recipe.publish(mosquitto.url)
    recipe.publish(mosquitto.url)
    bridge.start().wait_for("event.duplicate", key=EVENT["id"])
    _see_one_message(bridge, sink)


def try_forbidden_topic(recipe: Recipe, new_mosquitto: Callable[..., Mosquitto], folder: Path) -> None:
    """A broker whose rules forbid the topic says so in its PUBACK, though somebody reads the topic."""
    rules = folder / "rules"
    rules.write_text("topic read #\n")
    assert recipe.is_refused(new_mosquitto({"acl_file": rules}).url)


def try_redis_stream(recipe: Recipe, sink: Redis, new_bridge: Bridges) -> None:
    """A stream that is missing refuses and is not made; the stream has a bound; its event becomes one message."""
    assert recipe.is_refused(f"redis://127.0.0.1:{free_port()}")
    with sink.client() as client:
        assert recipe.is_refused(sink.url)
        assert not client.exists(_QUEUE)
        bridge = new_bridge(_config("stream", sink.url, sink)).ready()
        bridge.terminate()
        bridge.wait()
        client.config_set("slowlog-log-slower-than", 0)
        try:
            client.slowlog_reset()
            recipe.publish(sink.url)
            log: Any = client.slowlog_get(128)
        finally:
            client.config_set("slowlog-log-slower-than", 10_000)
        (added,) = [entry["command"] for entry in log if entry["command"].upper().startswith(b"XADD ")]
        assert added.upper().startswith(b"XADD ORDERS NOMKSTREAM MAXLEN ~ 1000000 * DATA ")
        client.config_set("maxmemory", 1)
        try:
            assert recipe.is_refused(sink.url)
        finally:
            client.config_set("maxmemory", 0)
    recipe.publish(sink.url)
    _see_one_message(bridge.start(), sink)


def _config(source: str, url: str, sink: Redis) -> dict[str, Any]:
    """Return the page's configuration with one of its sources."""
    config: dict[str, Any] = yaml.safe_load(CONFIG)
    settings = {**config["sources"][source], "url": url}
    routes = [route for route in config["routes"] if source in route["from"]]
    return {
        "dramatiq": {"url": sink.url_of(0)},
        "sources": {source: settings},
        "routes": [{**route, "from": source} for route in routes],
    }


def _see_one_message(bridge: BridgeProcess, sink: Redis) -> None:
    """See the event in the workers' queue, once, also when the bridge has written all that it had received."""
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default"), what="a message")
        bridge.terminate()
        assert bridge.wait() == 0
        (message,) = queue_messages(client, "default")
    assert (message["actor_name"], message["args"]) == ("reserve_stock", [EVENT["id"], EVENT["total"]])


async def _declare(rabbitmq: RabbitMQ, arguments: dict[str, Any]) -> None:
    async with await aio_pika.connect(rabbitmq.url) as connection, connection.channel() as channel:
        await channel.declare_queue(_QUEUE, durable=True, arguments=arguments)


async def _delete(rabbitmq: RabbitMQ) -> None:
    async with await aio_pika.connect(rabbitmq.url) as connection, connection.channel() as channel:
        await channel.queue_delete(_QUEUE)


async def _look(rabbitmq: RabbitMQ) -> None:
    """See how an event lies in the queue, and leave it there."""
    async with await aio_pika.connect(rabbitmq.url) as connection, connection.channel() as channel:
        message = await (await channel.get_queue(_QUEUE)).get()
        assert (message.message_id, message.content_type) == (MESSAGE_ID, "application/json")
        assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
        assert json.loads(message.body) == EVENT
        await message.nack(requeue=True)
