"""What the bridge is to reach, and whether it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.contestants import BRIDGE, NATIVE, SCRIPT
from bench.rounds import Rounds
from bench.throughput import Run


def speed(run: Run) -> float:
    """Events per second."""
    return run.events_per_s


def cpu(run: Run) -> float:
    """CPU seconds of the process per 100,000 events."""
    return run.cpu


@dataclass(frozen=True)
class Verdict:
    """One goal: what was asked, what was measured, and whether that is enough (None: it was not measured)."""

    source: str
    goal: str
    measured: str
    met: bool | None


@dataclass(frozen=True)
class _Ratio:
    kind: str
    name: str
    other: str
    value: Callable[[Run], float]
    bound: float
    at_least: bool
    text: str

    def judge(self, rounds: Rounds) -> Verdict:
        ratio = rounds.ratio(self.name, self.other, self.value)
        if ratio is None:
            return Verdict(self.kind, self.text, "", None)
        met = ratio >= self.bound if self.at_least else ratio <= self.bound
        # A share of a script's CPU is easier read as its inverse.
        shown = f"1/{1 / ratio:.0f}" if self.bound < 0.1 and ratio < 0.5 else f"{ratio:.2f} x"
        return Verdict(self.kind, self.text, shown, met)


def _pair(kind: str, other: str, faster: float, cheaper: float) -> tuple[_Ratio, _Ratio]:
    share = f"1/{1 / cheaper:.0f}" if cheaper < 0.1 else f"{cheaper:g} x"
    return (
        _Ratio(kind, BRIDGE, other, speed, faster, True, f"events/s at least {faster:g} x {other}"),
        _Ratio(kind, BRIDGE, other, cpu, cheaper, False, f"CPU per event at most {share} of {other}"),
    )


#: At most 15 % slower with 100 routes; two processes cost nothing.
_ALWAYS: Final = (("bridge, 100 routes", 0.85), ("bridge, processes: 2", 1.0))

RATIOS: Final = (
    *_pair("amqp", NATIVE, 1.5, 0.5),
    *_pair("amqp", SCRIPT, 14, 1 / 35),
    *_pair("mqtt", NATIVE, 2, 0.35),
    *_pair("mqtt", SCRIPT, 30, 1 / 35),
    *_pair("redis-stream", NATIVE, 1, 1),
    *_pair("redis-stream", SCRIPT, 50, 1 / 50),
    *_pair("redis-pubsub", SCRIPT, 35, 1 / 35),
    *(
        _Ratio(kind, name, BRIDGE, speed, bound, True, f"{name}: events/s at least {bound:g} x one route, one process")
        for kind in ("amqp", "mqtt", "redis-stream", "redis-pubsub")
        for name, bound in _ALWAYS
    ),
)


def judge(rounds: Rounds) -> list[Verdict]:
    """Return the verdict on every goal of this source that its rounds can tell."""
    verdicts = [ratio.judge(rounds) for ratio in RATIOS if ratio.kind == rounds.kind]
    return [verdict for verdict in verdicts if verdict.met is not None]
