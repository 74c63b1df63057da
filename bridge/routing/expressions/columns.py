"""Tables and their columns: those that an expression reads, and those that there are, both known when it is compiled."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, NamedTuple

from bridge.config.tables import Table
from bridge.config.wording import near_miss, quoted
from bridge.errors import InvalidValue

_SIMILARITY: Final = 0.6
_MAX_SHOWN: Final = 20


class Column(NamedTuple):
    """A field that an expression reads of what a table gives, at a place in characters.

    It is optional where the expression says what to do without it.
    """

    table: str
    name: str
    offset: int
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class TableReads:
    """What one expression reads of tables: the name of each, with its place in characters, and the columns."""

    tables: list[tuple[str, int]] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)

    def add_field(self, base: ast.expr, name: object, offset: int) -> None:
        """Note that a field of `base` is read, if that is a call of `lookup`, or one with a fallback."""
        while isinstance(base, ast.Call) and isinstance(base.func, ast.Name) and base.func.id in {"default", "catch"}:
            base = base.args[0]
        if isinstance(name, str) and (table := table_of(base)) is not None:
            self.columns.append(Column(table, name, offset))

    def make_optional(self, first: int) -> None:
        """Note that the expression goes on without these columns: that number `first`, and all behind it."""
        self.columns[first:] = [column._replace(is_optional=True) for column in self.columns[first:]]


def table_of(node: ast.expr) -> str | None:
    """Return the name of the table that a call of `lookup` reads; None for anything else."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "lookup" and node.args:
        name = node.args[0]
        return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else None
    return None


class KnownTables:
    """The tables of a configuration, with their rows."""

    def __init__(self, tables: Mapping[str, Table], rows: Mapping[str, Mapping[str, Any]]) -> None:
        self._tables = tables
        self._rows = rows
        self._columns: dict[str, list[str] | None] = {}

    def is_csv(self, name: str) -> bool:
        """Whether a table is a .csv, whose values are texts."""
        file = self._tables[name].file if name in self._tables else None
        return file is not None and file.lower().endswith(".csv")

    def gives_text(self, name: str) -> bool:
        """Whether each value of a table is text itself, and no row."""
        return self.is_csv(name) and self._tables[name].value is not None

    def check(self, reads: TableReads) -> None:
        """Check what an expression reads of tables.

        Raises:
            InvalidValue: there is no such table, or no row of it has such a column.
        """
        for name, offset in reads.tables:
            if name not in self._tables:
                hint = near_miss(name, self._tables, _SIMILARITY) or (
                    f"the tables are {', '.join(islice(self._tables, _MAX_SHOWN))}"
                    if self._tables
                    else "the configuration has no tables"
                )
                raise InvalidValue(f"there is no table {quoted(name)}", hint, offset)
        for column in reads.columns:
            self._check_column(column)

    def _check_column(self, column: Column) -> None:
        table, name, offset, is_optional = column
        if table not in self._columns:
            self._columns[table] = _columns_of(self._rows.get(table, {}))
        columns, is_csv = self._columns[table], self.is_csv(table)
        if columns is None or name in columns or (is_optional and not is_csv):
            return
        if not columns:
            message = f"the values of the table {table} have no fields"
            raise InvalidValue(message, f"write lookup({quoted(table)}, key) alone", offset)
        hint = near_miss(name, columns, _SIMILARITY) or f"it has {', '.join(columns[:_MAX_SHOWN])}"
        what = "there is no column" if is_csv else "no row has a field"
        raise InvalidValue(f"{what} {quoted(name)} in the table {table}", hint[:300], offset)


def _columns_of(rows: Mapping[str, Any]) -> list[str] | None:
    """Return the fields of the rows; none if no row has any, None if not all rows have the same, or there is no row."""
    first: Any = next(iter(rows.values()), None)
    if type(first) is not dict:
        return [] if rows and all(type(row) in (str, int, float, bool) for row in rows.values()) else None
    keys = first.keys()
    return list(first) if all(type(row) is dict and row.keys() == keys for row in rows.values()) else None
