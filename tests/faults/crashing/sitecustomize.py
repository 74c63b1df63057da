"""What a fault in a codec's C code does to the bridge, at the one body that meets it; on the PYTHONPATH of such a bridge."""

from __future__ import annotations

import os
import signal

from bridge.model.event import Event
from bridge.routing.refusal import Decode
from bridge.routing.repair import Repairs

_make = Repairs.decoder


def _crashing(repairs: Repairs, kind: str) -> Decode:
    decode = _make(repairs, kind)

    def decode_or_die(event: Event) -> object:
        if b"poison" in event.body:
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(event)

    return decode_or_die


Repairs.decoder = _crashing  # type: ignore[assignment, method-assign]
