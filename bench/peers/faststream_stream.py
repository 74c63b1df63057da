"""FastStream on a Redis stream: batches, one grouped write by redis.asyncio per batch, acknowledged after it."""

from __future__ import annotations

import sys

import redis.asyncio
from faststream import AckPolicy, FastStream
from faststream.redis import RedisBroker, StreamSub
from faststream.redis.message import RedisBatchStreamMessage

from bench.load import DOTTED_TOPIC, STREAM_FIELD, STREAM_GROUP
from bench.peers.batch import messages
from bench.peers.faststream_common import run, write

SETTINGS = "batch=True, max_records 1000, raw message, no casting, one HSET + one RPUSH per batch, uvloop, orjson"


async def main(source: str, sink: str) -> None:
    """Consume until killed."""
    client = redis.asyncio.Redis.from_url(sink)
    broker = RedisBroker(source, apply_types=False, log_level=30)
    field = STREAM_FIELD.encode()
    stream = StreamSub(
        DOTTED_TOPIC, group=STREAM_GROUP, consumer="faststream", batch=True, max_records=1000, last_id=">"
    )

    # The raw entries instead of decoded bodies: FastStream's publisher did not write them.
    async def raw(event: RedisBatchStreamMessage) -> RedisBatchStreamMessage:
        return event

    @broker.subscriber(stream=stream, ack_policy=AckPolicy.REJECT_ON_ERROR, no_reply=True, decoder=raw)
    async def handle(event: RedisBatchStreamMessage) -> None:
        raw = event.raw_message
        await write(client, messages((raw["channel"], fields[field]) for fields in raw["data"]))

    await FastStream(broker).run(log_level=30)


if __name__ == "__main__":
    run(main(*sys.argv[1:]))
