"""The benchmark's rule, as a user's script would contain it: decode, decide, build the arguments."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson
from dramatiq import Message

from bench.load import ACTOR, QUEUE

_TOPIC: Final = re.compile(r"plants[./]([^./]+)[./]temp")


def arguments(topic: str, body: bytes) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Return the args and kwargs of an event that fits the rule, None for any other event."""
    match = _TOPIC.fullmatch(topic)
    if match is None:
        return None
    plant = match[1]
    payload = orjson.loads(body)
    if not payload["temp"] > 0:
        return None
    text = f"{payload['device']} of {plant} is at {payload['temp']} {payload['unit']}"
    return (plant, payload["seq"], payload["temp"]), {"unit": payload["unit"], "text": text}


def message(topic: str, body: bytes) -> Message[Any] | None:
    """Return Dramatiq's message for an event that fits the rule, None for any other event."""
    args_and_kwargs = arguments(topic, body)
    if args_and_kwargs is None:
        return None
    args, kwargs = args_and_kwargs
    return Message(queue_name=QUEUE, actor_name=ACTOR, args=args, kwargs=kwargs, options={})
