"""/metrics: the state of a bridge in Prometheus's text format, or in OpenMetrics.

One snapshot makes one exposition, so its numbers belong together.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest as text_format
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_format

from bridge.admin.metrics import families
from bridge.model.state import BridgeState

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_END: Final = b"# EOF\n"
#: The event loop waits for a step no longer than this and one metric, in seconds.
_STEP_S: Final = 0.002


@dataclass(frozen=True)
class _One:
    """A registry of one metric, as the functions that write the formats take it."""

    metric: Metric

    def collect(self) -> Iterable[Metric]:
        """Return the metric."""
        return (self.metric,)


async def render(state: BridgeState, *, openmetrics: bool) -> tuple[bytes, float]:
    """Return the exposition of `state`, and the processor's time that it took, in seconds.

    It is made in steps, between which the event loop does other things: a bridge of 5,000 routes has 20,000 lines, which
    would hold events up for a quarter of a second.
    """
    parts = []
    begin, spent = time.thread_time(), 0.0
    for family in families(state):
        parts.append(_openmetrics(family) if openmetrics else _text(family))
        step = time.thread_time() - begin
        if step > _STEP_S:
            spent += step
            await asyncio.sleep(0)
            begin = time.thread_time()
    if openmetrics:
        parts.append(_END)
    return b"".join(parts), spent + time.thread_time() - begin


def _text(family: Metric) -> bytes:
    return text_format(cast("CollectorRegistry", _One(family)))


def _openmetrics(family: Metric) -> bytes:
    """Return a metric in OpenMetrics: its own comments, and the same lines as in the text format, which is twice as fast."""
    empty = Metric(family.name, family.documentation, family.type, family.unit)
    head: bytes = openmetrics_format(_One(empty))  # type: ignore[no-untyped-call]
    _help, _type, lines = _text(family).split(b"\n", 2)
    return head.removesuffix(_END) + lines


def wants_openmetrics(accept: str) -> bool:
    """Tell whether a client with this Accept header likes OpenMetrics better than the text format."""
    weights = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for item in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in item.split(";"))
        if kind in weights:
            weights[kind] = max(weights[kind], _weight(parameters))
    return weights["application/openmetrics-text"] > weights["text/plain"]


def _weight(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
