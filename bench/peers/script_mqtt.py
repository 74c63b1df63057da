"""A user's script: paho's callback, Dramatiq's `enqueue` per message, acknowledged after it."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import urlsplit

from dramatiq.brokers.redis import RedisBroker
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from bench.load import MQTT_CLIENT_ID, MQTT_FILTER, QUEUE
from bench.peers.rule import message

SETTINGS = "QoS 1, persistent session, manual_ack after enqueue, loop_forever, orjson"


def main(source: str, sink: str) -> None:
    """Consume until killed."""
    broker = RedisBroker(url=sink)
    broker.declare_queue(QUEUE)
    client = Client(CallbackAPIVersion.VERSION2, client_id=MQTT_CLIENT_ID, clean_session=False, manual_ack=True)

    def on_message(client: Client, _userdata: Any, event: MQTTMessage) -> None:
        built = message(event.topic, bytes(event.payload))
        if built is not None:
            broker.enqueue(built)
        client.ack(event.mid, event.qos)

    client.on_message = on_message
    client.on_connect = lambda client, *_: client.subscribe(MQTT_FILTER, qos=1)
    address = urlsplit(source)
    client.connect(address.hostname or "127.0.0.1", address.port or 0)
    client.loop_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
