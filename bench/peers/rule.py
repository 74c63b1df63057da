"""The benchmark's rule as a user's script has it: decode, decide, name the actor and its arguments."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson
from dramatiq import Message

from bench.load import ACTOR, QUEUE

_TOPIC: Final = re.compile(r"plants[./]([^./]+)[./]temp")


def arguments(topic: str, body: bytes) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Return the args and kwargs of an event that fits; None for one that doesn't."""
    fits = _TOPIC.fullmatch(topic)
    if fits is None:
        return None
    plant = fits[1]
    payload = orjson.loads(body)
    if not payload["temp"] > 0:
        return None
    text = f"{payload['device']} of {plant} is at {payload['temp']} {payload['unit']}"
    return (plant, payload["seq"], payload["temp"]), {"unit": payload["unit"], "text": text}


def message(topic: str, body: bytes) -> Message[Any] | None:
    """Return Dramatiq's message for an event that fits; None for one that doesn't."""
    found = arguments(topic, body)
    if found is None:
        return None
    args, kwargs = found
    return Message(queue_name=QUEUE, actor_name=ACTOR, args=args, kwargs=kwargs, options={})
