"""Equality: JSON's `==` and `in`, where a boolean equals only a boolean (for Python `True == 1`)."""

from __future__ import annotations

from typing import Any, Final

_NUMBERS: Final = frozenset({bool, int, float})


def equal(left: Any, right: Any) -> bool:
    """`left == right`: a boolean equals only a boolean. Within lists and mappings Python's rule stays."""
    return left == right and (type(left) is bool) == (type(right) is bool)


def contains(item: Any, items: Any) -> bool:
    """`item in items`: a boolean equals only a boolean."""
    if item not in items:
        return False
    is_bool = type(item) is bool
    if type(items) is not list or type(item) not in _NUMBERS:
        return not is_bool  # of a mapping, whose keys can be numbers
    return any((type(each) is bool) is is_bool and each == item for each in items)


#: The names by which rewritten expressions call these.
RUNTIME: Final[dict[str, object]] = {"_eq": equal, "_in": contains}
