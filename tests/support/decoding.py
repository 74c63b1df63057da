"""Bodies to decode, and the refusals of them."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.errors import BadEvent
from bridge.model.event import Event
from bridge.routing.decoding import decoder

FILLING = b"x" * (16 << 10)


def decode(kind: str, body: bytes, **meta: object) -> Any:
    """Return the payload of an event with this body and meta."""
    return decoder(kind)(Event("s", "t", body, 0, raw=({}, meta)))


def refused(kind: str, body: bytes, **meta: object) -> str:
    """Return the reason for which `body` is refused; AssertionError if it is accepted."""
    with pytest.raises(BadEvent) as caught:
        decode(kind, body, **meta)
    assert caught.value.reason == "decode"
    assert len(caught.value.detail) <= 300
    return caught.value.detail


def large(kind: str, body: bytes) -> bytes:
    """Return `body` in a list behind a text of 16 KiB: of that size on, bodies are checked before they are decoded."""
    size = len(FILLING).to_bytes(2)
    return {"json": b"%.0b%.0b%b", "msgpack": b"\x92\xda%b%b%b", "cbor": b"\x82\x79%b%b%b"}[kind] % (
        size,
        FILLING,
        body,
    )
