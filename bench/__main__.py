"""`python -m bench`: runs the chosen parts, prints their tables and writes bench/results.md."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench import fleet, goals, idle, latency, linear, load, report
from bench.backlogs import BACKLOGS
from bench.contestants import PEERS, Contestant, variants
from bench.report import Section
from bench.rounds import Rounds, play

RESULTS: Final = Path(__file__).parent / "results.md"
PARTS: Final = ("throughput", "variants", "latency", "linear", "idle", "fleet")
#: Few rounds are enough: a difference as small as the noise does not matter between variants.
_MAX_VARIANT_ROUNDS: Final = 3

_OTHER_PARTS: Final = {"latency": latency.part, "linear": linear.part, "idle": idle.part, "fleet": fleet.part}

_INTRODUCTION: Final = """\
Written by `{command}`; medians of {rounds} rounds, in each of which every contestant ran once; ratios are taken within a
round. A run moves a preloaded backlog of {size}-byte JSON events (AMQP: durable queue, persistent messages; MQTT: QoS 1,
persistent session; pub/sub: Redis's output buffer for a stopped subscriber) to Redis: decode, a topic with one capture,
`when: payload.temp > 0`, three args, two kwargs of which one is an f-string, HSET + RPUSH, acknowledge. It is measured from
the first 2 % to the last message in Redis; CPU until half a second later. In every run each event had become one message,
and the broker held nothing for the consumer after it was killed. `mq-bridge native` builds no messages: it moves the events
to a stream, where they were counted. The brokers have their defaults, but for mosquitto's queue, which has no limit, and
Redis, which writes nothing to disk. Brokers, contestant and benchmark share the machine."""


def main() -> int:
    """Run the benchmark; return 1 if a run failed. A goal that is not met is no failure."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--sources", default=",".join(BACKLOGS), help=f"of {', '.join(BACKLOGS)}; default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the events of each run; 0.1 for a quick look")
    parser.add_argument("--only", default="", help="contestants by name, separated by semicolons")
    parser.add_argument("--command", default="python -m bench", help="how it was started, for the report")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    parts = _chosen(parser, arguments.parts, PARTS)
    kinds = _chosen(parser, arguments.sources, tuple(BACKLOGS))

    began = time.monotonic()
    sections: list[Section] = []
    verdicts: list[goals.Verdict] = []
    failures = 0
    if {"throughput", "variants"} & set(parts):
        all_rounds = [_throughput(kind, parts, arguments) for kind in kinds]
        failures += sum(len(rounds.failures) for rounds in all_rounds)
        verdicts += [verdict for rounds in all_rounds for verdict in goals.judge(rounds)]
        sections.append(report.throughput(all_rounds))
    other_parts = [measure for name, measure in _OTHER_PARTS.items() if name in parts]
    if other_parts:
        with ExitStack() as stack:
            backlogs = [stack.enter_context(BACKLOGS[kind]()) for kind in kinds]
            for measure in other_parts:
                section, part_verdicts = measure(backlogs, _log_line, arguments.scale)
                sections.append(section)
                failures += section.failures
                verdicts += part_verdicts
    if verdicts:
        sections.insert(0, report.goals(verdicts))
    sections.append(report.machine())
    text = report.markdown(
        "Benchmarks, all results",
        _INTRODUCTION.format(command=arguments.command, rounds=arguments.rounds, size=load.EVENT_BYTES),
        sections,
    )
    arguments.results.write_text(text)
    print(f"\n{text}\n{time.monotonic() - began:.0f} s; written to {arguments.results}")
    return 1 if failures else 0


def _throughput(kind: str, parts: list[str], arguments: argparse.Namespace) -> Rounds:
    peers = PEERS[kind] if "throughput" in parts else PEERS[kind][:1]
    chosen: list[tuple[Contestant, int]] = [(contestant, arguments.rounds) for contestant in peers]
    if "variants" in parts:
        chosen += [(contestant, min(arguments.rounds, _MAX_VARIANT_ROUNDS)) for contestant in variants(kind)]
    if arguments.only:
        names = arguments.only.split(";")
        chosen = [(contestant, count) for contestant, count in chosen if contestant.name in names]
    with BACKLOGS[kind]() as backlog:
        return play(backlog, chosen, arguments.scale, _log_line)


def _chosen(parser: argparse.ArgumentParser, text: str, known: tuple[str, ...]) -> list[str]:
    names = [name for name in text.replace(" ", "").split(",") if name]
    for name in names:
        if name not in known:
            parser.error(f"{name} is none of {', '.join(known)}")
    # In the order of `known`, not in that of the command line.
    return [name for name in known if name in names]


def _log_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
