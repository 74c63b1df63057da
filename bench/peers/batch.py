"""Messages in Dramatiq's form, encoded by orjson, for the peers that write one HSET and one RPUSH per batch."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from typing import Any

import orjson

from bench.load import ACTOR, QUEUE
from bench.peers.rule import arguments


def messages(events: Iterable[tuple[str, bytes]]) -> dict[Any, bytes]:
    """Return the messages of `(topic, body)` pairs in Dramatiq's form, by redis_message_id."""
    now = int(time.time() * 1000)
    encoded: dict[Any, bytes] = {}
    for topic, body in events:
        args_and_kwargs = arguments(topic, body)
        if args_and_kwargs is not None:
            identifier = str(uuid.uuid4())
            encoded[identifier] = orjson.dumps(_message(*args_and_kwargs, identifier, now))
    return encoded


def _message(args: tuple[Any, ...], kwargs: dict[str, Any], identifier: str, now: int) -> dict[str, Any]:
    return {
        "queue_name": QUEUE,
        "actor_name": ACTOR,
        "args": args,
        "kwargs": kwargs,
        "options": {"redis_message_id": identifier},
        "message_id": identifier,
        "message_timestamp": now,
    }
