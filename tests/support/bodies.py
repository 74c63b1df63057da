"""Bodies as publishers send them, and the payloads that a source makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.errors import BadEvent
from bridge.model.event import Event
from bridge.routing.repair import Repairs


def body_of(body: bytes, headers: dict[str, object] | None = None, **meta: object) -> Event:
    """Return an event of the source `s`."""
    return Event("s", "t", body, 0, raw=(headers or {}, meta))


def repaired(kind: str, event: Event | bytes, **settings: Any) -> tuple[object, dict[str, int]]:
    """Return the payload of an event at a source with these settings, and the repairs that were made."""
    repairs = Repairs(**settings)
    payload = repairs.decoder(kind)(body_of(event) if isinstance(event, bytes) else event)
    return payload, {str(repair): count for repair, count in repairs.counts.items()}


def refusal(kind: str, event: Event | bytes, **settings: Any) -> BadEvent:
    """Return the error of a body that can't be read, also not after repairs: none of them is counted."""
    repairs = Repairs(**settings)
    with pytest.raises(BadEvent) as caught:
        repairs.decoder(kind)(body_of(event) if isinstance(event, bytes) else event)
    assert repairs.counts == {}
    assert len(caught.value.detail) <= 330
    return caught.value
