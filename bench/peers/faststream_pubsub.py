"""FastStream on Redis pub/sub: a subscriber per message, redis.asyncio for the write."""

from __future__ import annotations

import sys

import redis.asyncio
from faststream import FastStream
from faststream.redis import PubSub, RedisBroker
from faststream.redis.message import RedisChannelMessage

from bench.load import DOTTED_TOPIC
from bench.peers.batch import messages
from bench.peers.faststream_common import run, write

WORKERS = CONNECTIONS = 10
SETTINGS = "polling_interval 0.1, max_workers 10, raw message, no casting, HSET + RPUSH per event, uvloop, orjson"


async def main(source: str, sink: str) -> None:
    """Consume until killed."""
    pool = redis.asyncio.BlockingConnectionPool.from_url(sink, max_connections=CONNECTIONS, timeout=None)
    client = redis.asyncio.Redis(connection_pool=pool)
    broker = RedisBroker(source, apply_types=False, log_level=30)

    # The raw message instead of a decoded body: the rule decodes the body itself.
    async def raw(event: RedisChannelMessage) -> RedisChannelMessage:
        return event

    channel = PubSub(DOTTED_TOPIC, polling_interval=0.1)

    @broker.subscriber(channel, no_reply=True, decoder=raw, max_workers=WORKERS)
    async def handle(event: RedisChannelMessage) -> None:
        content = event.raw_message
        await write(client, messages([(content["channel"], content["data"])]))

    await FastStream(broker).run(log_level=30)


if __name__ == "__main__":
    run(main(*sys.argv[1:]))
