"""The entries of a JSON file one by one, with their lines; and the line of a mistake in one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bridge.config.wording import quoted


class RepeatedKey(Exception):
    """A key that stands twice in one entry, which begins on `line`."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def json_line(text: str, error: Exception) -> int:
    """Return the line of an error in JSON: msgspec names a byte alone."""
    try:
        json.loads(text)
    except json.JSONDecodeError as found:
        return found.lineno
    except (ValueError, RecursionError):
        pass
    words = str(error).rpartition("(byte ")[2].removesuffix(")")
    return text.encode().count(b"\n", 0, int(words)) + 1 if words.isdecimal() else 1


def json_rows(text: str) -> Iterator[tuple[int, str | None, object]]:
    """Yield line, key and value of each entry of an object, or of each element of a list (without a key) in JSON."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique)
    position, line = _skip(text, 0), 1
    line += text.count("\n", 0, position)
    is_object = text[position] == "{"
    position += 1
    while True:
        start = _skip(text, position)
        line += text.count("\n", position, start)
        if text[start] in "}]":
            return
        try:
            name = None
            end = start
            if is_object:
                name, end = decoder.raw_decode(text, start)
                end = _skip(text, _skip(text, end) + 1)
            value, end = decoder.raw_decode(text, end)
        except _Twice as error:
            raise RepeatedKey(line, str(error)) from None
        yield line, name, value
        line += text.count("\n", start, end)
        position = _skip(text, end)
        line += text.count("\n", end, position)
        position += text[position] == ","


class _Twice(Exception):
    """A key that stands twice in one row."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in pairs:
        if name in row:
            raise _Twice(f"the key {quoted(name)} is there twice in one row")
        row[name] = value
    return row


def _skip(text: str, position: int) -> int:
    while text[position : position + 1] in {" ", "\n", "\t", "\r"}:
        position += 1
    return position
