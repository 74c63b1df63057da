"""The matrix as a table: for the terminal, and as Markdown with an anchor per row."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from statistics import median
from typing import Final

from tests.faults.experiment import Result

_HEAD: Final = (
    "row",
    "reads",
    "runs",
    "events",
    "lost",
    "broker's own loss",
    "at most once: gone",
    "duplicates",
    "orphans",
    "recovery s",
    "memory MiB",
    "held",
)


def cells(results: Sequence[Result]) -> list[str]:
    """Return the line of a row from its runs in one way of reading: sums, and the worst recovery and memory."""
    first = results[0]
    recoveries = [one.recovery_s for one in results if one.recovery_s is not None]
    recovery = "-"
    if recoveries:
        recovery = f"{median(recoveries):.1f}"
        if len(recoveries) > 1:
            recovery += f", at most {max(recoveries):.1f}"
    return [
        first.row.name,
        ("fast" if first.fast else "library") if first.row.has_two_paths else "-",
        str(len(results)),
        f"{sum(one.confirmed for one in results):,}",
        str(sum(one.lost for one in results)),
        str(sum(one.own_loss for one in results)) if first.row.losers else "-",
        str(sum(one.not_promised for one in results)),
        str(sum(one.duplicates for one in results)),
        str(sum(one.orphans for one in results)),
        recovery,
        f"+{max(one.memory_bytes for one in results) / 2**20:.1f}",
        "NO" if any(one.failures for one in results) else "yes",
    ]


def text(lines: Sequence[Sequence[str]]) -> str:
    """Return the table for a terminal."""
    whole = [_HEAD, *lines]
    widths = [max(len(line[column]) for line in whole) for column in range(len(_HEAD))]
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)) for line in whole)


def markdown(groups: Sequence[Sequence[Result]], command: str) -> str:
    """Return the table as a document; each row has its name as anchor, and what is done to whom below."""
    date = dt.datetime.now(dt.UTC).date().isoformat()
    lines = [
        "# The fault matrix",
        "",
        f"Printed by `{command}` on {date}. Memory is the peak over the idle process; every row's promises are those of",
        "[experiment.py](experiment.py), and a row that does not hold fails the run.",
        "",
        "| " + " | ".join(_HEAD) + " |",
        "|---|---|" + "---:|" * (len(_HEAD) - 3) + "---|",
    ]
    anchored: set[str] = set()
    for group in groups:
        name, *rest = cells(group)
        anchor = "" if name in anchored else f'<a id="{name}"></a>'
        anchored.add(name)
        lines.append("| " + " | ".join([f"{anchor}[{name}](#{name}-is)", *rest]) + " |")
    lines.append("")
    for row in {group[0].row.name: group[0].row for group in groups}.values():
        lines.append(f'- <a id="{row.name}-is"></a>**{row.name}** ({", ".join(row.sources)}): {row.what}')
        if row.own_loss:
            lines.append(f"  The broker's own loss: {row.own_loss}.")
        notes = [note for group in groups for one in group if one.row is row for note in one.notes]
        lines += [f"  Measured: {note}." for note in notes]
    return "\n".join(lines) + "\n"
