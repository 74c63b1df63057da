"""The orders of the parent to a child process: pickled, one after another, on the child's standard input.

The first one is an `Order`, then come any number of the other orders, and at last STOP. An input that ends without STOP
tells that the parent has died.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from bridge.config import Config
from bridge.model.taps import TapFilter
from bridge.observe.logs import Format
from bridge.process.pausing import Pauses


@dataclass(frozen=True, slots=True)
class Order:
    """The order to a child process: its number (0 is the first), the configuration that it runs, and how it logs.

    `pauses` are the sources and routes that a person has paused before it was started, `taps` the taps that are open, by
    their numbers.
    """

    number: int
    config: Config
    log_format: Format | None
    log_level: str
    pauses: Pauses = field(default_factory=Pauses)
    taps: Mapping[int, TapFilter] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SwapOrder:
    """Run by another order from now on; `id` counts the orders of one process, and its reports repeat the last one that is done."""

    id: int
    order: Order


@dataclass(frozen=True, slots=True)
class PauseOrder:
    """Let these sources and routes be paused, and no others."""

    id: int
    pauses: Pauses


@dataclass(frozen=True, slots=True)
class TapOrder:
    """Let these taps be open, and no others."""

    id: int
    taps: Mapping[int, TapFilter]


#: An order to a process that runs.
Further = SwapOrder | PauseOrder | TapOrder
_STOP: Final = "stop"
#: The end of the input alone would not tell a stop from the parent's death: it comes before the child has another parent.
STOP: Final = pickle.dumps(_STOP)


def read(stream: BinaryIO) -> Further | None:
    """Return the next order, None for STOP; blocks.

    Raises:
        EOFError: the input has ended without STOP.
    """
    try:
        order: Further | str = pickle.load(stream)  # noqa: S301 - from the parent alone
    except Exception as error:  # the parent died while it wrote: pickle raises anything
        raise EOFError from error
    return None if isinstance(order, str) else order
