"""Tables of text, the same on a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 2) -> str:
    """Return a Markdown table whose columns line up, to the left in the first `texts` columns and to the right in others."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if column < texts else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = "|".join(
        "-" * (width + 2) if column < texts else "-" * (width + 1) + ":" for column, width in enumerate(widths)
    )
    return "\n".join([line(head), f"|{rule}|", *map(line, rows)])


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with separators, or a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"
