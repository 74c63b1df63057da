"""mq-bridge's inputs for the benchmark's sources, with the fastest settings found.

On AMQP, windows from 100 to 4,000 and a concurrency of 4 were tried: none was faster than these by more than the noise.
"""

from __future__ import annotations

from typing import Any, Final

from bench.load import AMQP_QUEUE, DOTTED_TOPIC, MQTT_CLIENT_ID, MQTT_FILTER, STREAM_GROUP

#: The window of every input, and the size of every batch.
WINDOW: Final = 1_000
#: The queue of the MQTT input. With 1,000 the polling loop hung after 2,000 events (observed): it seems that the input
#: waits for room in its queue, while `commit` waits for the input to send the acknowledgements.
MQTT_QUEUE: Final = 65_535


def endpoint(kind: str, url: str, *, topic: bool = False) -> dict[str, Any]:
    """Return the input for a source of this kind; `topic` asks for the routing key where that is an option."""
    if kind == "amqp":
        return {"amqp": {"url": url, "queue": AMQP_QUEUE, "prefetch_count": WINDOW, "source_metadata": topic}}
    if kind == "mqtt":
        session = {"client_id": MQTT_CLIENT_ID, "clean_session": False, "session_expiry_interval": 3600}
        limits = {"qos": 1, "queue_capacity": MQTT_QUEUE, "max_inflight": WINDOW}
        return {"mqtt": {"url": url.replace("mqtt:", "tcp:"), "topic": MQTT_FILTER, **session, **limits}}
    return {
        "redis_streams": {
            "url": url,
            "stream": DOTTED_TOPIC,
            "group": STREAM_GROUP,
            "read_from_start": True,
            "internal_buffer_size": WINDOW,
        }
    }
