"""`type(x)` and `bool(x)`: the kind of a value, and the truth that it spells."""

from __future__ import annotations

from typing import Final

from bridge.config.wording import quoted
from bridge.routing.expressions.values import refuse

_TYPES: Final[dict[type, str]] = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
    list: "array",
    dict: "object",
}
_TRUTHS: Final = {
    **dict.fromkeys(("true", "yes", "on", "t", "y", "1"), True),
    **dict.fromkeys(("false", "no", "off", "f", "n", "0"), False),
}
_LONGEST: Final = max(map(len, _TRUTHS))


def type_of(value: object) -> str:
    """`type(x)`, in the words of JSON Schema."""
    found = _TYPES.get(type(value))
    if found is None:
        refuse("type()", "a value of JSON", value)
    return found


def truth(value: object) -> bool:
    """`bool(x)`: of true and false, of numbers, and of texts that say it."""
    kind = type(value)
    if kind is bool:
        return value  # type: ignore[return-value]
    if kind is int or kind is float:
        return value != 0
    if kind is not str:
        refuse("bool()", "true or false, a number or text", value)
    word = value.strip()  # type: ignore[attr-defined]
    found = _TRUTHS.get(word.lower()) if len(word) <= _LONGEST else None
    if found is None:
        raise ValueError(f"{quoted(value)} is neither true nor false")
    return found
