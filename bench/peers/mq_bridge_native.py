"""mq-bridge's own route to a Redis stream: no Python per event, no decoding, no rule, no message."""

from __future__ import annotations

import sys

import mq_bridge

from bench.load import NATIVE_STREAM
from bench.peers.mq_bridge_inputs import MQTT_QUEUE, WINDOW, endpoint

CONCURRENCY = 1
SETTINGS = f"Route to a Redis stream, batch_size {WINDOW}, concurrency {CONCURRENCY}, prefetch/buffer {WINDOW} (MQTT {MQTT_QUEUE})"


def main(kind: str, source: str, sink: str) -> None:
    """Run until killed."""
    route = mq_bridge.Route.from_config(
        {
            "input": endpoint(kind, source),
            "output": {"redis_streams": {"url": sink, "stream": NATIVE_STREAM}},
            "batch_size": WINDOW,
            "concurrency": CONCURRENCY,
        }
    )
    route.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
