"""`python -m bench.scaling`: the figures from which docs/scaling.md computes its tables; writes bench/scaling.md.

A part that is not measured keeps its section: each says when it was measured, and how busy the machine was.

`python -m bench.sizing` then writes the tables anew.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench import distance, filtering, footprint, growth, quiet, report, workers
from bench.report import Section
from bench.rounds import LogLine

RESULTS: Final = Path(__file__).parent / "scaling.md"
_PARTS: Final[dict[str, Callable[[LogLine, float], Section]]] = {
    "growth": growth.section,
    "filtering": filtering.section,
    "workers": workers.section,
    "quiet": quiet.section,
    "distance": distance.section,
    "footprint": footprint.section,
}
TITLES: Final = ("Growth", "Filtering", "Workers", "Low rates", "Distance", "Footprint")
_INTRODUCTION: Final = """\
Last written by `{command}`. The bridge has its defaults and the rule of [results.md](results.md); Redis writes nothing to disk. Brokers, bridge and
benchmark share the machine. CPU and bytes are the figures to plan with: events/s also measure what else the machine does."""


def main() -> int:
    """Measure the chosen parts; return 1 if a run failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.add_argument("--parts", default=",".join(_PARTS), help=f"of {', '.join(_PARTS)}; default: all")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of the events and seconds of each run; 0.2 for a quick look"
    )
    parser.add_argument("--command", default="python -m bench.scaling", help="how it was last started, for the report")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    names = arguments.parts.split(",")
    if unknown := set(names) - set(_PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: the parts are {', '.join(_PARTS)}")
    began = time.monotonic()
    sections = [_stamped(_PARTS[name](_log_line, arguments.scale)) for name in _PARTS if name in names]
    old = arguments.results.read_text() if arguments.results.exists() else ""
    text = report.markdown(
        "Scaling, as measured",
        _INTRODUCTION.format(command=arguments.command),
        [*merged(old, sections), report.machine()],
    )
    arguments.results.write_text(text)
    print(f"\n{text}\n{time.monotonic() - began:.0f} s; written to {arguments.results}")
    return 1 if any(section.failures for section in sections) else 0


def merged(old: str, measured: list[Section]) -> list[Section]:
    """Return the sections of a report with the measured ones in place of the old ones; all in one order."""
    found = re.findall(r"^## ([^\n]*)\n\n(.*?)\n*(?=^## |\Z)", old, re.MULTILINE | re.DOTALL)
    sections = {title: Section(title, text) for title, text in found if title in TITLES}
    sections |= {section.title: section for section in measured}
    return sorted(sections.values(), key=lambda section: TITLES.index(section.title))


def _stamped(section: Section) -> Section:
    stamp = f"Measured {dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC; load of the machine at the end: {os.getloadavg()[0]:.1f}"
    return replace(section, text=f"{section.text}\n\n{stamp}")


def _log_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
