"""Numbers: the operators, and the functions that take and give numbers, all bounded in size."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, Final

from bridge.config.wording import describe, quoted
from bridge.model.json_limits import MAX_DIGITS
from bridge.routing.expressions.values import MAX_INT, NUMBERS, refuse

_MAX_ROUND_DIGITS: Final = 400
#: The most digits of a number by its base, with sign and prefix: its decimal digits are no more than MAX_DIGITS.
_DIGITS: Final = {2: 14_280, 8: 4_760, 10: MAX_DIGITS, 16: 3_570}
#: Between these, numbers need no closer look.
_LOW, _HIGH = -(2**53), 2**53
_FLOAT_LOW, _FLOAT_HIGH = float(_LOW), float(_HIGH)


def _check(name: str, value: object) -> None:
    if type(value) is int:
        if not -MAX_INT <= value <= MAX_INT:
            raise ValueError(f"{name}: a number is larger than 2**256")
    elif type(value) is not float:
        refuse(name, "numbers", value)
    elif not math.isfinite(value):
        raise ValueError(f"{name}: a number is not finite")


def _binary(name: str, compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], object]:
    # Locals of a closure: read faster than globals.
    low, high, float_low, float_high = _LOW, _HIGH, _FLOAT_LOW, _FLOAT_HIGH

    def computed(left: Any, right: Any) -> object:
        # The common case, a few comparisons between like types: 200 ns rather than 430.
        small = (low < left < high) if type(left) is int else (type(left) is float and float_low < left < float_high)
        if small and (
            (low < right < high) if type(right) is int else (type(right) is float and float_low < right < float_high)
        ):
            result = compute(left, right)
            if (low < result < high) if type(result) is int else (float_low < result < float_high):
                return result
        _check(name, left)
        _check(name, right)
        result = compute(left, right)
        _check(name, result)
        return result

    return computed


def _unary(name: str, compute: Callable[[Any], Any]) -> Callable[[object], object]:
    def computed(value: object) -> object:
        _check(name, value)
        return compute(value)

    return computed


def _power(base: Any, exponent: Any) -> Any:
    # The size of the result is known from the bits alone; 2 ** (2**256) must never be begun.
    if type(base) is int and type(exponent) is int and exponent > 1 and abs(base) > 1:
        bits = (abs(base).bit_length() - 1) * exponent
        if bits > MAX_INT.bit_length():
            raise ValueError("'**': a number is larger than 2**256")
    result = base**exponent
    if type(result) is complex:
        raise ValueError("'**': a fractional power of a negative number")
    return result


#: The function of each operator of arithmetic; every other operator is refused.
OPERATORS: Final[dict[type[ast.operator | ast.unaryop], Callable[..., object]]] = {
    ast.Add: _binary("'+'", operator.add),
    ast.Sub: _binary("'-'", operator.sub),
    ast.Mult: _binary("'*'", operator.mul),
    ast.Div: _binary("'/'", operator.truediv),
    ast.FloorDiv: _binary("'//'", operator.floordiv),
    ast.Mod: _binary("'%'", operator.mod),
    ast.Pow: _binary("'**'", _power),
    ast.USub: _unary("'-'", operator.neg),
    ast.UAdd: _unary("'+'", operator.pos),
}


def check_base(base: object) -> None:
    """Check the base of `int`. Raises ValueError if it is none."""
    if type(base) is not int or base not in _DIGITS:
        raise ValueError(f"the base of int() is 2, 8, 10 or 16, not {quoted(base)}")


def to_int(value: Any, *base: Any) -> int:
    """`int(x)`: the whole number of text, of a number, or of true or false; `int(text, base)` of digits of another base."""
    kind = type(value)
    if base:
        return _of_digits(value, base[0])
    if kind is str:
        digits = value.strip()
        if len(digits) <= MAX_DIGITS + 1 and "_" not in digits:
            try:
                return int(digits)
            except ValueError:
                pass
    elif kind not in NUMBERS and kind is not bool:
        refuse("int()", "text or a number", value)
    elif kind is not float or math.isfinite(value):
        return int(value)
    raise ValueError(f"{quoted(value)} is not a whole number")


def _of_digits(value: Any, base: Any) -> int:
    check_base(base)
    if type(value) is not str:
        refuse("int() with a base", "text", value)
    digits = value.strip()
    if len(digits) <= _DIGITS[base] and "_" not in digits:
        try:
            return int(digits, base)
        except ValueError:
            pass
    raise ValueError(f"{quoted(value)} is not a whole number of base {base}")


def to_float(value: Any) -> float:
    """`float(x)`: the finite number of text, of a number, or of true or false."""
    kind = type(value)
    if kind is not str and kind not in NUMBERS and kind is not bool:
        refuse("float()", "text or a number", value)
    if kind is not str or "_" not in value:
        try:
            result = float(value)
        except (ValueError, OverflowError):
            result = math.nan
        if math.isfinite(result):
            return result
    raise ValueError(f"{quoted(value)} is not a finite number")


def rounded(value: Any, *digits: object) -> object:
    """`round(x)`, `round(x, digits)`."""
    if type(value) not in NUMBERS:
        refuse("round()", "a number", value)
    for count in digits:
        if type(count) is not int:
            refuse("round()", "a whole number of digits", count)
        # round(5, -10**9) would compute 10**(10**9).
        if abs(count) > _MAX_ROUND_DIGITS:
            raise ValueError(f"round() takes at most {_MAX_ROUND_DIGITS} digits")
    if type(value) is float and not math.isfinite(value):
        raise ValueError(f"round() takes a finite number, not {value}")
    return round(value, *digits)  # type: ignore[call-overload]


def absolute(value: Any) -> object:
    """`abs(x)`."""
    if type(value) not in NUMBERS:
        refuse("abs()", "a number", value)
    return abs(value)


def extreme(name: str, choose: Callable[[Sequence[Any]], Any]) -> Callable[..., object]:
    """`min` and `max`: of a list, or of two or more values; of numbers, or of texts."""

    def chosen(*values: Any) -> object:
        items: Sequence[Any] = values
        if len(values) == 1:
            items = values[0]
            if type(items) is not list:
                refuse(f"{name}()", "a list, or two or more values", items)
        if not items:
            raise ValueError(f"{name}() of an empty list")
        types = set(map(type, items))
        if not (types <= NUMBERS or types == {str}):
            others = [item for item in items if type(item) not in NUMBERS and type(item) is not str]
            refused = describe(others[0]) if others else "a mix of both"
            raise TypeError(f"{name}() takes numbers only or texts only, not {refused}")
        return choose(items)

    return chosen
