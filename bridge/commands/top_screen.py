"""The picture of `top`, made with rich: a few lines on the bridge, and tables of sources, routes and queues."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from bridge.commands.condition import plain
from bridge.commands.layout import spell_number, spell_rate, spell_span
from bridge.commands.rates import Rate
from bridge.commands.top_view import RouteRow, SourceRow, View, sorted_by
from bridge.model.accounting import Counts, RouteCounts

_KEYS: Final = "q quit   s sort   / filter   p pause"
#: In columns: below, the column that says least is left out.
_WIDE: Final = 100
#: Lines of a screen that a table takes beside its rows: the blank one, its head, and the one that counts the rest.
_FRAME: Final = 3
#: Rows of a table on a screen that is too low for all.
_MIN_ROWS: Final = 2
#: The columns with rates, by the name by which they are sorted.
_RATES: Final = ("events", "enqueued", "filtered", "dead")


def picture(view: View, address: str, width: int, height: int | None) -> Group:
    """Return what is shown on a terminal of this size; with `height` None all rows, without the keys."""
    head = _head(view, address)
    sources, routes, queues = view.sources(), view.routes(), list(view.queues())
    if height is None:
        limits: Sequence[int] = (len(sources), len(routes), len(queues))
    else:
        limits = _limits((len(sources), len(routes), len(queues)), height - len(head) - 1 - 3 * _FRAME)
    parts: list[Table | Text] = [*head]
    parts += _block(_sources(sources, limits[0], view, width), len(sources), limits[0])
    parts += _block(_routes(routes, limits[1], view), len(routes), limits[1])
    if view.status is not None and view.status.queues_cause:
        parts += [Text(), _line(f"queues: not known: {plain(view.status.queues_cause)}", "yellow")]
    else:
        parts += _block(_queues(queues, limits[2]), len(queues), limits[2])
    if height is not None:
        parts.append(_line(_KEYS, "dim"))
    return Group(*parts)


def _block(table: Table, count: int, limit: int) -> list[Table | Text]:
    """Return a table below a blank line, and the number of the rows for which there is no room."""
    rest = [_line(f"and {count - limit:,} more", "dim")] if count > limit else []
    return [Text(), table, *rest]


def _limits(rows: Sequence[int], room: int) -> list[int]:
    """Share the room out: each table gets a third, and what one does not need the others get."""
    limits = [min(count, max(_MIN_ROWS, room // 3)) for count in rows]
    for index, count in enumerate(rows):
        limits[index] += max(0, min(count - limits[index], room - sum(limits)))
    return limits


def _head(view: View, address: str) -> list[Text]:
    status = view.status
    if status is None:
        return [_line(f"dramatiq-bridge at {address}", "bold")]
    ready = "ready" if status.ready else "NOT READY"
    phase = "" if status.phase == "running" else f" ({status.phase})"
    up = spell_span(time.time() - status.started_at)
    first = f"dramatiq-bridge {plain(status.version)} at {address}: {ready}{phase}, up {up}"
    lines = [_line(first, "bold green" if status.ready else "bold red")]
    lines += [_line(f"  {plain(problem)}", "red") for problem in status.problems[:2]]
    if len(status.problems) > 2:
        lines.append(_line(f"  and {len(status.problems) - 2} more: see `dramatiq-bridge status`", "red"))
    lines += [_line(words, "yellow") for words in (view.failure, view.note) if words]
    order = f"by {view.sort}"
    if view.filter or view.is_typing:
        order += f", with {plain(view.filter)!r}{' _ (Enter, or Escape for all)' if view.is_typing else ''}"
    if view.is_paused:
        order += ", PAUSED: p goes on"
    return [*lines, _line(f"events a second, {order}", "dim")]


def _line(text: str, style: str) -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _table(names: Sequence[str], numbers: Sequence[str], sort: str = "") -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", show_edge=False)
    for at, name in enumerate(names):
        table.add_column(Text(name), no_wrap=True, overflow="ellipsis", min_width=8 if at == 0 else None)
    for name in numbers:
        style = "bold underline" if name.partition("/")[0] == sort else "bold"
        table.add_column(Text(name, style), no_wrap=True, justify="right", min_width=len(name))
    return table


def _sources(rows: Sequence[SourceRow], limit: int, view: View, width: int) -> Table:
    more = ("lost", "in flight", "spooled", "window") if width >= _WIDE else ("lost", "in flight", "window")
    table = _table(("source", "condition"), ("events/s", "enqueued/s", "filtered/s", "dead/s", *more), view.sort)
    for row in rows[:limit]:
        source = row.source
        values = {
            "lost": Text(spell_number(source.counts.lost), "red" if source.counts.lost else ""),
            "in flight": Text(spell_number(source.in_flight)),
            "spooled": Text(spell_number(source.spooled or 0)),
            "window": Text(f"{min(source.fill, 1):.0%}"),
        }
        name, word = Text(plain(row.name)), Text(row.condition.word, row.condition.color)
        table.add_row(name, word, *_rates(row.rate), *(values[each] for each in more))
    return table


def _routes(rows: Sequence[RouteRow], limit: int, view: View) -> Table:
    # Only where a route has left any out: most have no gate.
    gates = [name for name in ("deduplicated", "expired") if any(getattr(row.counts, name) for row in rows)]
    numbers = ("events/s", "enqueued/s", "filtered/s", "dead/s", *gates)
    table = _table(("route", "source", "queue"), numbers, view.sort)
    for row in rows[:limit]:
        name = Text(plain(row.name), "yellow" if row.route.paused else "")
        if row.route.paused:
            name.append(" (paused)")
        left_out = [Text(spell_number(getattr(row.counts, gate))) for gate in gates]
        table.add_row(name, Text(plain(row.route.source)), Text(plain(row.route.queue)), *_rates(row.rate), *left_out)
    return table


def _queues(rows: Sequence[tuple[str, object]], limit: int) -> Table:
    numbers = ("waiting", "delayed", "in flight", "dead")
    table = _table(("queue",), numbers)
    for name, queue in rows[:limit]:
        values = [getattr(queue, number.replace(" ", "_")) for number in numbers]
        table.add_row(Text(plain(name)), *(Text(spell_number(value)) for value in values))
    return table


def _rates(rate: Rate[Counts] | Rate[RouteCounts] | None) -> list[Text]:
    if rate is None:
        return [Text("-")] * len(_RATES)
    numbers = [sorted_by(rate, name) for name in _RATES]
    return [Text(spell_rate(number), "red" if at == 3 and number else "") for at, number in enumerate(numbers)]
