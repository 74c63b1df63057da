"""What a fault in a codec's C code does to the bridge, at the one body that meets it; on the PYTHONPATH of such a bridge."""

from __future__ import annotations

import os
import signal

import bridge.routing.decoding
from bridge.model.event import Event
from bridge.routing.decoding import Decode

_make = bridge.routing.decoding.decoder


def _crashing(kind: str) -> Decode:
    decode = _make(kind)

    def decode_or_die(event: Event) -> object:
        if b"poison" in event.body:
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(event)

    return decode_or_die


bridge.routing.decoding.decoder = _crashing
