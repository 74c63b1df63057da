"""Bound the stream, above all that can come while the bridge is away: MAXLEN also trims entries that nobody has read."""

import json
import os
import sys

import redis

EVENT = {"id": "order-4711", "total": 129}

client = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"), socket_timeout=10)
# NOMKSTREAM: a stream that no bridge has made, such as one with a typing error, is not made here.
entry = client.xadd("orders", {"data": json.dumps(EVENT)}, maxlen=1_000_000, approximate=True, nomkstream=True)
if entry is None:
    sys.exit("refused: there is no stream `orders`")
