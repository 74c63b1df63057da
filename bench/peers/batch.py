"""Many messages written at once: one HSET and one RPUSH per batch, encoded by orjson, for the peers that can batch."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from typing import Any

import orjson

from bench.load import ACTOR, QUEUE
from bench.peers.rule import arguments


def messages(events: Iterable[tuple[str, bytes]]) -> dict[Any, bytes]:
    """Return the messages of `(topic, body)` pairs in Dramatiq's wire form, by their redis_message_id."""
    now = int(time.time() * 1000)
    encoded: dict[Any, bytes] = {}
    for topic, body in events:
        found = arguments(topic, body)
        if found is not None:
            identifier = str(uuid.uuid4())
            encoded[identifier] = orjson.dumps(_message(found, identifier, now))
    return encoded


def _message(found: tuple[tuple[Any, ...], dict[str, Any]], identifier: str, now: int) -> dict[str, Any]:
    return {
        "queue_name": QUEUE,
        "actor_name": ACTOR,
        "args": found[0],
        "kwargs": found[1],
        "options": {"redis_message_id": identifier},
        "message_id": identifier,
        "message_timestamp": now,
    }
