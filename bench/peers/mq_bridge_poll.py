"""mq-bridge's consumer polled from Python: orjson, one grouped write per batch, committed after it."""

from __future__ import annotations

import sys

import mq_bridge
import redis

from bench.load import DOTTED_TOPIC, MESSAGES_KEY, MQTT_TOPIC, QUEUE_KEY
from bench.peers.batch import messages
from bench.peers.mq_bridge_inputs import MQTT_QUEUE, WINDOW, endpoint

SETTINGS = f"poll(max={WINDOW}), prefetch/buffer {WINDOW} (MQTT {MQTT_QUEUE}), orjson, one HSET + one RPUSH per batch, then commit(); topic given for free on MQTT and streams"


def main(kind: str, source: str, sink: str) -> None:
    """Consume until killed."""
    client = redis.Redis.from_url(sink)
    consumer = mq_bridge.Consumer.from_config(endpoint(kind, source, topic=True))
    # mq-bridge reports the routing key, but neither MQTT's topic nor the stream's key: these two are constants here.
    fixed = MQTT_TOPIC if kind == "mqtt" else DOTTED_TOPIC
    key = "mqb.src.amqp_routing_key"
    while True:
        batch = consumer.poll(max=WINDOW, timeout_ms=1000)
        if not batch:
            continue
        if kind == "amqp":
            encoded = messages((event.metadata[key], event.payload) for event in batch)
        else:
            encoded = messages((fixed, event.payload) for event in batch)
        if encoded:
            with client.pipeline(transaction=True) as pipeline:
                pipeline.hset(MESSAGES_KEY, mapping=encoded)
                pipeline.rpush(QUEUE_KEY, *encoded)
                pipeline.execute()
        consumer.commit()


if __name__ == "__main__":
    main(*sys.argv[1:])
