"""The arithmetic of docs/scaling.md: a rate times a cost, and how a number is shown."""

from __future__ import annotations

import math
from typing import Final

from bench.figures import Cost, Figures

#: The share of a core to plan with: the rest is for bursts, for the catching up after an outage, and for slower machines.
PLAN: Final = 0.5
KINDS: Final = {
    "amqp": "AMQP",
    "amqp-stream": "RabbitMQ stream",
    "mqtt": "MQTT, QoS 1",
    "redis-stream": "Redis stream",
    "redis-pubsub": "Redis pub/sub",
}
DAY_S: Final = 86_400
#: From this rate on batches are full, and an event costs as in bench/results.md.
_FULL_RATE: Final = 100_000


def cores(rate: float, cpu_s_per_100k: float) -> float:
    """Return how many cores are busy at a rate."""
    return rate * cpu_s_per_100k / 100_000


def needed(busy: float) -> int:
    """Return how many processes of one core each share this work, each of them busy for `PLAN` of the time at most."""
    return max(1, math.ceil(round(busy / PLAN, 6)))


def show(value: float) -> str:
    """Return a number with two digits that count."""
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:.6g}"


def size(number: float) -> str:
    """Return a number of bytes in the largest unit of which there is at least one."""
    for unit, bytes_ in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= bytes_:
            return f"{show(number / bytes_)} {unit}"
    return f"{number:.0f} B"


def cost_at(figures: Figures, kind: str, rate: int) -> Cost:
    """Return the cost of an event at a rate: from 100,000 events/s on that of full batches, below that of the next lower rate measured."""
    measured = [low for source, low in figures.low if source == kind and low <= rate]
    return figures.costs[kind] if rate >= _FULL_RATE else figures.low[kind, max(measured)]
