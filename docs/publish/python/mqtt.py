"""Publish at QoS 1, and read the PUBACK: at QoS 0 nobody says that an event is lost, and 0x10 says that nobody gets it."""

import json
import os
import sys
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

EVENT = {"id": "order-4711", "total": 129}  # the id is the event's own: published again, it is known

broker = urlsplit(os.environ.get("MQTT_URL", "mqtt://127.0.0.1:1883"))
answers: SimpleQueue[Any] = SimpleQueue()
client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
client.on_publish = lambda _client, _data, _number, reason, _properties: answers.put(reason)
client.connect(broker.hostname or "127.0.0.1", broker.port or 1883)
client.loop_start()
client.publish("shop/orders", json.dumps(EVENT), qos=1)
reason = answers.get(timeout=10)
client.disconnect()
client.loop_stop()
if reason.value != 0:
    sys.exit(f"refused: {reason}")
