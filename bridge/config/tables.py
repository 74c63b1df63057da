"""`tables:`, small data that expressions look up: its settings, and the rows of all tables within their bounds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, model_validator

from bridge.config.connection import Model, Name, or_null
from bridge.config.substitution import unmarked
from bridge.config.table_files import (
    FORMATS,
    FaultyTable,
    Rows,
    TableFile,
    TableMistake,
    read_rows,
    row_value,
)
from bridge.config.units import spell_size
from bridge.config.wording import describe, listed
from bridge.errors import Diagnostic, InvalidValue, KeyPath, LocatedDiagnostic

#: Of the files of all tables.
MAX_ALL_BYTES: Final = 64 << 20


def _delimiter(value: object) -> object:
    if not isinstance(value, str) or len(value) != 1 or value in '"\r\n':
        raise InvalidValue("takes one character", 'as in ";" or "\\t"')
    return str(value)


def _values(value: object) -> object:
    if not isinstance(value, dict):
        raise InvalidValue(f"takes a mapping, not {describe(value)}", "as in {north: 1, south: 2}")
    return unmarked(value)


class Table(Model):
    """A table: a file, or values that stand in the configuration."""

    file: Name | None = Field(
        default=None,
        description="file with the rows, beside this one: .csv with a header, .yaml or .json",
        examples=["customers.csv"],
    )
    key: Name | None = Field(
        default=None,
        description="column, or field of each element of a list, by which a row is found",
        examples=["customer_no"],
    )
    value: Name | None = Field(
        default=None,
        description="column or field that a lookup gives; without it the whole row, a mapping",
        examples=["account"],
    )
    delimiter: Annotated[str | None, BeforeValidator(or_null(_delimiter))] = Field(
        default=None, description="character between two columns of a .csv; without it a comma", examples=[";"]
    )
    values: Annotated[dict[str, Any] | None, BeforeValidator(or_null(_values))] = Field(
        default=None, description="the rows themselves, instead of a file", examples=[{"north": 4711, "south": 4712}]
    )

    @model_validator(mode="after")
    def _check(self) -> Table:
        if (self.file is None) == (self.values is None):
            raise InvalidValue("a table has a file or values", "as in {file: customers.csv, key: customer_no}")
        kind = "values" if self.file is None else Path(self.file).suffix.lower()
        if kind not in {"values", *FORMATS}:
            message = f"takes a file whose name ends with {listed(FORMATS)}"
            raise InvalidValue.of([Diagnostic(("file",), message)])
        if kind == ".csv" and self.key is None:
            raise InvalidValue("a .csv needs the column by which a row is found", "add key: NAME")
        if kind != ".csv" and self.delimiter is not None:
            raise InvalidValue.of([Diagnostic(("delimiter",), "only a .csv has one", at_key=True)])
        if kind == "values" and self.key is not None:
            message = "the rows of values: have their keys"
            raise InvalidValue.of([Diagnostic(("key",), message, "leave it out", at_key=True)])
        return self


def is_data(path: KeyPath) -> bool:
    """Tell whether `${...}` at this place of the file has put a value into a table or a schema."""
    if path[:1] == ("tables",):
        return path[2:3] == ("values",)
    return path[:1] in {("sources",), ("routes",), ("defaults",)} and path[2:3] == ("validate",) and len(path) > 3


@dataclass(frozen=True, slots=True)
class TablesRead:
    """The rows of each table; the mistakes in the configuration; and those in the tables' files.

    `digests` are of the files.
    """

    rows: Mapping[str, Rows]
    diagnostics: Sequence[Diagnostic]
    in_files: Sequence[LocatedDiagnostic]
    digests: Sequence[bytes]


def read_tables(tables: Mapping[str, Table], directory: Path, unread: frozenset[str] = frozenset()) -> TablesRead:
    """Read every table; files are relative to `directory`, and the tables in `unread` stay empty."""
    rows: dict[str, Rows] = {}
    diagnostics: list[Diagnostic] = []
    in_files: list[LocatedDiagnostic] = []
    digests: list[bytes] = []
    room = MAX_ALL_BYTES
    for name, table in tables.items():
        rows[name] = {}
        if table.file is None:
            rows[name], mistakes = _inline(table)
            diagnostics += [mistake.below(("tables", name)) for mistake in mistakes]
        elif name not in unread:
            path = directory / table.file
            try:
                rows[name], body = read_rows(TableFile(path, table.key, table.value, table.delimiter or ","))
                room -= len(body)
                digests.append(hashlib.sha256(body).digest())
            except FaultyTable as error:
                if error.mistakes:
                    in_files += [_located(mistake, path, name) for mistake in error.mistakes]
                else:
                    diagnostics.append(Diagnostic(("tables", name, error.setting), str(error), error.hint))
            if room < 0:
                message = f"with this file the tables are larger than {spell_size(MAX_ALL_BYTES)}"
                diagnostics.append(Diagnostic(("tables", name, "file"), message))
                break
    return TablesRead(rows, diagnostics, in_files, digests)


def _located(mistake: TableMistake, path: Path, table: str) -> LocatedDiagnostic:
    return LocatedDiagnostic(
        os.fspath(path), mistake.line, mistake.column, f"tables.{table}", mistake.message, mistake.hint
    )


def _inline(table: Table) -> tuple[Rows, list[Diagnostic]]:
    values = table.values or {}
    if table.value is None:
        return values, []
    rows: Rows = {}
    mistakes: list[Diagnostic] = []
    for key, row in values.items():
        try:
            rows[key] = row_value(row, table.value)
        except InvalidValue as error:
            mistakes += [each.below(("values", key)) for each in error.diagnostics]
    return rows, mistakes
