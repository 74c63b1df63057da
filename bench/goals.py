"""The goals of the bridge, and whether a run met them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.contestants import BRIDGE, NATIVE, SCRIPT
from bench.rounds import Rounds
from bench.throughput import Run


def speed(run: Run) -> float:
    """Return events per second."""
    return run.events_per_s


def cpu(run: Run) -> float:
    """Return the process's CPU seconds per 100,000 events."""
    return run.cpu


@dataclass(frozen=True)
class Verdict:
    """One goal with the measured value; `met` is None if it was not measured."""

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
        # A small share of a script's CPU is easier to read as a fraction.
        shown = f"1/{1 / ratio:.0f}" if self.bound < 0.1 and ratio < 0.5 else f"{ratio:.2f} x"
        return Verdict(self.kind, self.text, shown, met)


def _pair(kind: str, other: str, faster: float, cheaper: float) -> tuple[_Ratio, _Ratio]:
    share = f"1/{1 / cheaper:.0f}" if cheaper < 0.1 else f"{cheaper:g} x"
    return (
        _Ratio(kind, BRIDGE, other, speed, faster, True, f"events/s at least {faster:g} x {other}"),
        _Ratio(kind, BRIDGE, other, cpu, cheaper, False, f"CPU per event at most {share} of {other}"),
    )


#: Variant and minimal ratio of its events/s: 100 routes cost at most 15 %, a second process costs nothing.
_ALWAYS: Final = (("bridge, 100 routes", 0.85), ("bridge, processes: 2", 1.0))

RATIOS: Final = (
    *_pair("amqp", NATIVE, 1.5, 0.5),
    *_pair("amqp", SCRIPT, 14, 1 / 35),
    *_pair("amqp-stream", SCRIPT, 10, 1 / 20),
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
    """Return the verdicts on this source's goals, as far as its rounds measured them."""
    verdicts = [ratio.judge(rounds) for ratio in RATIOS if ratio.kind == rounds.kind]
    return [verdict for verdict in verdicts if verdict.met is not None]
