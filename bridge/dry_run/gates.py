"""The gates of a dry run: the keys of messages are remembered in memory, as the bridge has Redis remember them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bridge.model.message import Gate, Message

#: The route and the key of each message that would have been written.
Remembered = set[tuple[str, bytes]]


def pass_gates(messages: Sequence[Message], remembered: Remembered) -> list[Message]:
    """Return the messages whose keys are not remembered yet, and remember them."""
    passed = []
    for message in messages:
        if message.gate is not None:
            key = (message.gate.rule.route, message.gate.key)
            if key in remembered:
                continue
            remembered.add(key)
        passed.append(message)
    return passed


def gates_json(gate: Gate | None) -> dict[str, Any]:
    """Return the gates of a message as `route --json` shows them."""
    if gate is None:
        return {}
    return {"deduplicate": {"key": gate.key.decode("utf-8", "backslashreplace"), "within_ms": gate.rule.lifetime_ms}}
