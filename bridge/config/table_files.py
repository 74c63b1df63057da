"""The file of a table, read whole: .csv, .yaml or .json; each mistake with its line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from bridge.config.files import UnreadableFile, named, read_file, whole
from bridge.config.json_rows import RepeatedKey, json_line, json_rows
from bridge.config.reader import parse
from bridge.config.substitution import NO_SUBSTITUTION
from bridge.config.syntax import MAX_DEPTH
from bridge.config.wording import describe, near_miss, quoted
from bridge.errors import BridgeError, InvalidValue
from bridge.model.json_limits import check_exponents, nests_deeper

MAX_FILE_BYTES: Final = 16 << 20
MAX_ROWS: Final = 200_000
#: YAML has so many values, with those inside rows.
_MAX_YAML_VALUES: Final = 2_000_000
#: So many mistakes of one file are shown.
_MAX_MISTAKES: Final = 20

#: The values of a table by their keys.
Rows = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TableFile:
    """The file of a table, and the settings by which it is read: see `Table`."""

    path: Path
    key: str | None = None
    value: str | None = None
    delimiter: str = ","


class TableMistake(NamedTuple):
    """A mistake at a line of a table's file."""

    line: int
    column: int
    message: str
    hint: str = ""


class FaultyTable(BridgeError):
    """A file that is no table: with its mistakes, or, if there are none, in words about the `setting` at fault."""

    def __init__(
        self, message: str, hint: str = "", mistakes: Iterable[TableMistake] = (), setting: str = "file"
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.setting = setting
        self.mistakes = list(mistakes)


class _Wrong(Exception):
    """One mistake, after which the file can't be read on."""

    def __init__(self, line: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.mistake = TableMistake(line, 1, message, hint)


def read_rows(file: TableFile) -> tuple[Rows, bytes]:
    """Return the rows of a table, and the content of its file.

    Raises:
        FaultyTable: the file can't be read, or has mistakes.
    """
    try:
        body = read_file(file.path, MAX_FILE_BYTES)
    except UnreadableFile as error:
        raise FaultyTable(f"{named(file.path)} {error}") from None
    try:
        text = body.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise FaultyTable("", mistakes=[TableMistake(line, 1, "the file is not UTF-8 text")]) from None
    builder = _Builder(file)
    try:
        _READERS[file.path.suffix.lower()](text, builder)
    except _Wrong as error:
        builder.mistakes.append(error.mistake)
    if builder.mistakes:
        raise FaultyTable("", mistakes=builder.mistakes)
    return builder.rows, body


def row_value(row: object, field: str) -> object:
    """Return a field of a row.

    Raises:
        InvalidValue: the row is no mapping, or has no such field.
    """
    if not isinstance(row, dict):
        raise InvalidValue(f"a row is a mapping with {field}, not {describe(row)}")
    if field not in row:
        raise InvalidValue(f"the row has no {quoted(field)}", near_miss(field, map(str, row)))
    return row[field]


class _Builder:
    """Collects the rows of one table, and the mistakes in its file."""

    def __init__(self, file: TableFile) -> None:
        self.file = file
        #: The lines of the rows so far, by their keys.
        self._lines: dict[str, int] = {}
        self.rows: Rows = {}
        self.mistakes: list[TableMistake] = []

    def add(self, key: object, row: object, line: int) -> None:
        """Add the row that begins on `line`."""
        if type(key) is int:
            key = str(key)
        if not isinstance(key, str):
            kind = "a fraction" if type(key) is float else describe(key)
            self.wrong(line, f"a key is text or a whole number, not {kind}")
        elif key in self._lines:
            self.wrong(line, f"the key {quoted(key)} is there twice", f"the first is on line {self._lines[key]}")
        else:
            self._lines[key] = line
            try:
                self.rows[key] = row if self.file.value is None else row_value(row, self.file.value)
            except InvalidValue as error:
                (diagnostic,) = error.diagnostics
                self.wrong(line, diagnostic.message, diagnostic.hint)
        if len(self._lines) > MAX_ROWS:
            raise _Wrong(line, f"the table has more than {MAX_ROWS:,} rows")

    def wrong(self, line: int, message: str, hint: str = "") -> None:
        """Note a mistake; reading goes on, for the first ones."""
        self.mistakes.append(TableMistake(line, 1, message, hint))
        if len(self.mistakes) >= _MAX_MISTAKES:
            raise _Wrong(line, "there are more mistakes in this file")


def _read_csv(text: str, builder: _Builder) -> None:
    file = builder.file
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=file.delimiter, strict=True)
    records = _records(reader)
    header: list[str] = []
    for first, header in records:
        _check_header(header, first, file)
        break
    if not header:
        raise _Wrong(1, "the file is empty", "the first line of a .csv names its columns")
    at, width = header.index(str(file.key)), len(header)
    columns = [(index, name) for index, name in enumerate(header) if file.value in {None, name}]
    for begin, record in records:
        if len(record) == width:
            builder.add(record[at], {name: record[index] for index, name in columns}, begin)
        else:
            builder.wrong(begin, f"the row has {len(record)} fields, the header {width}")


def _check_header(header: list[str], line: int, file: TableFile) -> None:
    seen: set[str] = set()
    for name in header:
        if name in seen:
            raise _Wrong(line, f"the column {quoted(name)} is there twice")
        seen.add(name)
    for setting, column in (("key", file.key), ("value", file.value)):
        if column is not None and column not in seen:
            hint = _other_delimiter(header, file.delimiter) or near_miss(column, header, 0.6)
            hint = hint or f"the columns are {', '.join(header)}"
            message = f"there is no column {quoted(column)} in {whole(file.path)}:{line}"
            raise FaultyTable(message, hint[:300], setting=setting)


def _records(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield each record that is not empty, and the line where it begins."""
    line = 1
    try:
        for record in reader:
            if record:
                yield line, record
            line = reader.line_num + 1
    except csv.Error as error:
        raise _Wrong(line, f"this is no CSV: {error}") from None


def _other_delimiter(header: list[str], delimiter: str) -> str:
    for other in ";\t|,":
        if other != delimiter and len(header) == 1 and other in header[0]:
            return f"its columns seem to be separated by {other!r}: write delimiter: {json.dumps(other)}"
    return ""


def _read_json(text: str, builder: _Builder) -> None:
    body = text.encode()
    try:
        check_exponents(body)
        whole = msgspec.json.decode(body)  # strict, as payloads are: no NaN, no lone surrogate
    except (ValueError, RecursionError) as error:
        raise _Wrong(
            json_line(text, error), f"this is no JSON: {str(error).removeprefix('JSON is malformed: ')}"
        ) from None
    if not isinstance(whole, (dict, list)):
        raise _Wrong(1, *_shape(whole, builder.file.key))
    try:
        for line, name, row in json_rows(text):
            _add_row(builder, name, row, line)
    except RepeatedKey as error:
        raise _Wrong(error.line, str(error)) from None


def _read_yaml(text: str, builder: _Builder) -> None:
    document = parse(text.encode(), str(builder.file.path), NO_SUBSTITUTION, max_values=_MAX_YAML_VALUES)
    if not document.flawless:
        found = [TableMistake(each.line, each.column, each.message, each.hint) for each in document.diagnostics()]
        raise FaultyTable("", mistakes=found[:_MAX_MISTAKES])
    whole = document.value
    if isinstance(whole, dict):
        for name, row in whole.items():
            _add_row(builder, name, row, document.position((name,)).line)
    elif isinstance(whole, list):
        for index, row in enumerate(whole):
            _add_row(builder, None, row, document.position((index,)).line)
    else:
        raise _Wrong(1, *_shape(whole, builder.file.key))


def _add_row(builder: _Builder, name: str | None, row: object, line: int) -> None:
    """Add a row that stands under its key, the `name`, or in a list, where one of its fields is the key."""
    key = builder.file.key
    if nests_deeper(row, MAX_DEPTH):
        builder.wrong(line, f"the row is nested more than {MAX_DEPTH} deep")
    elif name is not None:
        if key is not None:
            raise _Wrong(line, "the file is a mapping: its keys are those of the table", "leave key: out of the table")
        builder.add(name, row, line)
    elif key is None:
        raise _Wrong(line, "the file is a list", "name the field by which a row is found: key: NAME")
    else:
        try:
            found = row_value(row, key)
        except InvalidValue as error:
            (diagnostic,) = error.diagnostics
            builder.wrong(line, diagnostic.message, diagnostic.hint)
        else:
            builder.add(found, row, line)


def _shape(whole: object, key: str | None) -> tuple[str, str]:
    wanted = "a mapping" if key is None else "a list of mappings"
    return f"the file is {wanted}, not {'empty' if whole is None else describe(whole)}", "as in {north: 1}"


#: Reads the text of a file, and gives its rows to the builder.
_Reader = Callable[[str, _Builder], None]
_READERS: Final[Mapping[str, _Reader]] = {
    ".csv": _read_csv,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".json": _read_json,
}
#: How the names of these files end.
FORMATS: Final = tuple(_READERS)
