"""Fields that may be missing, and values that may be wrong: `default`, `has` and `catch`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bridge.routing.expressions.failures import is_missing

_MISSING: Final = object()
#: The errors of a value that `catch` replaces; any other ends the evaluation, as those of an event that costs too much.
_CAUGHT: Final = (LookupError, TypeError, ValueError, ArithmeticError, RecursionError)


def _try(value: Callable[[], object]) -> object:
    try:
        return value()
    except (LookupError, TypeError) as error:
        if not is_missing(error):
            raise
    return _MISSING


def pick(base: Any, fallback: object, *keys: str | int) -> object:
    """`default()` of a path such as `payload.site.id`, with a fallback that costs nothing.

    No closure, and for mappings no exception: either would cost more than all the rest. It does not share its loop with
    `present`: the call would add a fifth.
    """
    for key in keys:
        if type(base) is dict:
            base = base.get(key)
        elif base is None:
            return fallback
        else:
            try:
                base = base[key]
            except LookupError:
                return fallback
    return fallback if base is None else base


def present(base: Any, *keys: str | int) -> bool:
    """`has()` of a path; a null at its end is there."""
    for key in keys:
        if base is None or (type(base) is dict and key not in base):
            return False
        try:
            base = base[key]
        except LookupError:
            return False
    return True


def default(value: Callable[[], object], fallback: Callable[[], object]) -> object:
    """`default()` of anything."""
    result = _try(value)
    return fallback() if result is None or result is _MISSING else result


def has(value: Callable[[], object]) -> bool:
    """`has()` of anything."""
    return _try(value) is not _MISSING


def catch(value: Callable[[], object], fallback: Callable[[], object]) -> object:
    """`catch(x, fallback)`: a null is no error."""
    try:
        return value()
    except _CAUGHT:
        pass
    return fallback()
