"""The input that costs the bridge the most CPU, of all that the tests try (`tests/support/bombs.py`)."""

from __future__ import annotations

import gc
import time
from typing import Final

from bench.tables import number
from bridge.process.event_loop import GC_THRESHOLD
from tests.support.bombs import bombs

_SHOWN: Final = 10
_TRIES: Final = 5


def dearest_bombs(text: str) -> list[list[str]]:
    """Return name and CPU milliseconds (the least of five tries) of the ten dearest bombs with `text` in their names."""
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)  # as the bridge runs
    costs = []
    for bomb in bombs():
        if text in bomb.name:
            tries = []
            for _ in range(_TRIES):
                began = time.process_time()
                bomb.explode()
                tries.append(time.process_time() - began)
            costs.append((min(tries) * 1000, bomb.name))
    return [[name, number(cost)] for cost, name in sorted(costs, reverse=True)[:_SHOWN]]
