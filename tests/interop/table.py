"""The reports as tables, one for each family of protocols: for the terminal, and as Markdown."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Final

from tests.interop.checks import CHECKS, Check, family_of, name_of
from tests.interop.outcome import Outcomes, Report

_TITLES: Final = {"amqp": "AMQP 0-9-1", "mqtt": "MQTT", "redis": "Redis: as sink, stream and pub/sub"}


def cell(outcomes: Outcomes) -> str:
    """Return the outcomes of a check as one cell: a single word where all sources agree, else each with its sources."""
    by_text: dict[str, list[str]] = {}
    for source, outcome in outcomes.items():
        by_text.setdefault(str(outcome), []).append(source)
    if len(by_text) < 2:
        return next(iter(by_text), "-")
    return "; ".join(f"{text} ({', '.join(sources)})" for text, sources in sorted(by_text.items()))


def markdown(reports: Sequence[Report], command: str) -> str:
    """Return the tables as a document; the brokers' own words are below them."""
    date = dt.datetime.now(dt.UTC).date().isoformat()
    lines = [
        "# Brokers that were tried",
        "",
        f"Printed by `{command}` on {date}. Each broker is a real one, and every check is made with all its sources: both ways",
        "to read, each version of MQTT. **held**: everything arrived, and no more often than promised. **broker**: it cannot give",
        "this, or loses events by itself, as a plain client beside the bridge shows. **refused**: the bridge says so in these words.",
        "**LOST** and **FAILED** fail the run. **-**: it has no source for this, as MQTT 3.1.1 announces and shares nothing. With",
        "**observed on** a plain client has shown it on that day, and the check was not made now.",
    ]
    for family, title in _TITLES.items():
        if of_family := [report for report in reports if family_of(report.protocols) == family]:
            lines += ["", f"## {title}", "", *_table(of_family, CHECKS[family])]
            lines += ["", *(f"- **{name_of(check)}**: {_says(check)}" for check in CHECKS[family])]
    lines += ["", "## What they announce, and what the bridge says about them", ""]
    for report in reports:
        known = [f"version {report.version}"] if report.version else []
        if known or report.notes:
            lines.append(f"- **{report.name}**: " + "; ".join([*known, *report.notes]))
    return "\n".join(lines) + "\n"


def summary(report: Report) -> str:
    """Return a report as lines for the terminal."""
    lines = [f"{report.name} {report.version} ({report.seconds:.0f} s)"]
    if report.unavailable:
        return f"{lines[0]}\n  could not be had: {report.unavailable}"
    for name, outcomes in report.outcomes.items():
        lines.append(f"  {name:<16} {report.took_s.get(name, 0):4.0f} s  {cell(outcomes)}")
        lines += [_indented(log) for log in sorted({one.log for one in outcomes.values() if one.log})]
    return "\n".join([*lines, *(f"  {note}" for note in report.notes)])


def _table(reports: Iterable[Report], checks: Iterable[Check]) -> list[str]:
    names = [name_of(check) for check in checks]
    lines = ["| broker | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for report in reports:
        if report.unavailable:
            cells = [f"could not be had: {report.unavailable}", *[""] * (len(names) - 1)]
        elif "start" in report.outcomes:
            cells = [f"at its start: {cell(report.outcomes['start'])}", *[""] * (len(names) - 1)]
        else:
            cells = [cell(report.outcomes.get(name, {})) for name in names]
        lines.append("| " + " | ".join([report.name, *(_escaped(one) for one in cells)]) + " |")
    return lines


def _escaped(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|")


def _says(check: Check) -> str:
    return (check.__doc__ or "").strip().splitlines()[0]


def _indented(text: str) -> str:
    return "\n".join(f"      {line}" for line in text.splitlines())
