"""`lookup(table, key, fallback)`: a value of a table of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from bridge.config.wording import quoted
from bridge.routing.expressions.values import refuse

_MISSING: Final = object()


class NotInTable(KeyError):
    """A key that a table does not have: for a route, a missing field."""

    def __init__(self, table: str, key: str) -> None:
        super().__init__(key)
        self._table = table

    def __str__(self) -> str:
        return f"no key {quoted(self.args[0])} in the table {self._table}"


def lookups(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Callable[..., object]]:
    """Return the functions behind `lookup`, for these tables; `lookup` itself checks that the table is there.

    A key is text, or a whole number, which is looked up as its digits.
    """

    def find(table: str, key: object) -> object:
        if type(key) is int:
            key = str(key)
        elif type(key) is not str:
            refuse("lookup()", "a key that is text or a whole number", key)
        return tables[table].get(key, _MISSING)

    def lookup(table: str, key: object) -> object:
        value = find(table, key)
        if value is _MISSING:
            raise NotInTable(table, str(key))
        return value

    def lookup_or(table: str, key: object, fallback: object) -> object:
        value = find(table, key)
        return fallback if value is _MISSING else value

    def lookup_else(table: str, key: object, fallback: Callable[[], object]) -> object:
        value = find(table, key)
        return fallback() if value is _MISSING else value

    return {"_lookup": lookup, "_lookup_or": lookup_or, "_lookup_else": lookup_else}
