"""Lists and mappings: the functions that take them, each bounded by the number of elements."""

from __future__ import annotations

import math
from itertools import chain
from operator import itemgetter
from typing import Any, Final

import msgspec

from bridge.config.wording import describe
from bridge.routing.expressions.values import MAX_INT, MAX_TEXT, NUMBERS, no_json, refuse

#: The most elements of a list or a mapping, in and out.
MAX_ELEMENTS: Final = 10_000
#: Whole numbers between these hash to themselves. Anybody can find thousands of others that share one hash.
_LOW, _HIGH = -(2**60), 2**60

#: Of mappings whose keys stand in another order it makes the same text.
_encode = msgspec.json.Encoder(enc_hook=no_json, order="sorted").encode


def _bounded(name: str, length: int) -> None:
    if length > MAX_ELEMENTS:
        raise ValueError(f"{name}: there are more than {MAX_ELEMENTS} elements")


def _list(name: str, value: Any) -> list[Any]:
    if type(value) is not list:
        refuse(name, "a list", value)
    _bounded(name, len(value))
    return value


def _mapping(name: str, value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        refuse(name, "a mapping", value)
    _bounded(name, len(value))
    return value


def _finite(name: str, numbers: list[Any]) -> None:
    for number in numbers:
        if type(number) is float and not math.isfinite(number):
            raise ValueError(f"{name}: a number is not finite")


def length(value: object) -> int:
    """`len(x)`: of a text its characters."""
    if type(value) not in (str, list, dict, bytes):
        refuse("len()", "text, a list or a mapping", value)
    return len(value)  # type: ignore[arg-type]


def sum_of(value: object) -> object:
    """`sum(list)`: exact of whole numbers; with fractions rounded once, whichever Python runs."""
    numbers = _list("sum()", value)
    kinds = set(map(type, numbers))
    if not kinds <= NUMBERS:
        refuse("sum()", "a list of numbers", next(item for item in numbers if type(item) not in NUMBERS))
    if float in kinds:
        _finite("sum()", numbers)
        return math.fsum(numbers)
    total = sum(numbers)
    if not -MAX_INT <= total <= MAX_INT:
        raise ValueError("sum(): a number is larger than 2**256")
    return total


def keys(value: object) -> list[str]:
    """`keys(m)`."""
    return list(_mapping("keys()", value))


def values(value: object) -> list[object]:
    """`values(m)`."""
    return list(_mapping("values()", value).values())


def items(value: object) -> list[list[object]]:
    """`items(m)`: a list of [key, value]."""
    return list(map(list, _mapping("items()", value).items()))


def merge(*mappings: object) -> dict[str, object]:
    """`merge(m, ...)`: of equal keys the last one's value."""
    merged: dict[str, object] = {}
    for mapping in mappings:
        merged.update(_mapping("merge()", mapping))
    _bounded("merge()", len(merged))
    return merged


def without(value: object, *names: object) -> dict[str, object]:
    """`without(m, key, ...)`."""
    rest = dict(_mapping("without()", value))
    for name in names:
        if type(name) is not str:
            refuse("without()", "text as key", name)
        rest.pop(name, None)
    return rest


def _booleans(name: str, value: object) -> list[bool]:
    elements = _list(name, value)
    if not {bool}.issuperset(map(type, elements)):
        refuse(name, "a list of true and false", next(item for item in elements if type(item) is not bool))
    return elements


def any_of(value: object) -> bool:
    """`any(list)`: whether an element is true."""
    return any(_booleans("any()", value))


def all_of(value: object) -> bool:
    """`all(list)`: whether every element is true."""
    return all(_booleans("all()", value))


def sort(value: object, *descending: object) -> list[object]:
    """`sort(list)`, `sort(list, true)`: of numbers, of texts, or of lists by their first elements; the sort is stable."""
    for flag in descending:
        if type(flag) is not bool:
            refuse("sort()", "true or false as second argument", flag)
    elements = _list("sort()", value)
    of_lists = bool(elements) and {list}.issuperset(map(type, elements))
    if of_lists and not all(elements):
        raise ValueError("sort(): an element is an empty list")
    by = [element[0] for element in elements] if of_lists else elements
    kinds = set(map(type, by))
    if kinds <= NUMBERS:
        if float in kinds:
            _finite("sort()", by)
    elif kinds == {str}:
        # The same text may stand there many times, and is compared each time.
        if sum(map(len, by)) > MAX_TEXT:
            raise ValueError(f"sort(): the texts are longer than {MAX_TEXT} characters")
    else:
        others = [item for item in by if type(item) not in NUMBERS and type(item) is not str]
        found = describe(others[0]) if others else "a mix of both"
        raise TypeError(f"sort() takes numbers only or texts only, or lists that begin with them, not {found}")
    return sorted(elements, key=itemgetter(0) if of_lists else None, reverse=True in descending)


def unique(value: object) -> list[object]:
    """`unique(list)`: the first of equal elements."""
    found: dict[object, object] = {}
    size = 0
    for element in _list("unique()", value):
        kind = type(element)
        key: object
        if kind is str or element is None or (kind is int and _LOW < element < _HIGH):
            key = element
        elif kind is float and _LOW < element < _HIGH and element.is_integer():
            key = int(element)
        elif kind is int or kind is float:
            # The hash of a text is secret.
            digits = _digits(element)
            key = ("number", digits)
            size += len(digits)
        elif kind is bytes:
            key = ("bytes", element)
        else:
            key = _encode(element)
            size += len(key)
        if size > MAX_TEXT:
            raise ValueError(f"unique(): the elements are longer than {MAX_TEXT} characters")
        if key not in found:
            found[key] = element
    return list(found.values())


def _digits(number: Any) -> str:
    """Return a text that numbers have in common if, and only if, they are equal."""
    if type(number) is float:
        return number.hex()
    # As a float has at most 1,024 bits, the conversion of a larger one would fail.
    is_float = number.bit_length() < 1024 and float(number) == number
    return float(number).hex() if is_float else f"{number:x}"


def flatten(value: object) -> list[object]:
    """`flatten(list)`: the elements of the lists in a list, one level deep."""
    elements = _list("flatten()", value)
    _bounded("flatten()", sum(len(item) if type(item) is list else 1 for item in elements))
    return list(chain.from_iterable(item if type(item) is list else (item,) for item in elements))
