"""The types of JSON that a Python annotation allows."""

from __future__ import annotations

import collections.abc
import types
import typing
from collections.abc import Sequence
from typing import Any, Final

from bridge.config.manifest import ANY, JsonType, Shape

_TYPES: Final[dict[Any, tuple[JsonType, ...]]] = {
    str: ("string",),
    bool: ("boolean",),
    # True is an int of Python's.
    int: ("integer", "boolean"),
    float: ("integer", "number", "boolean"),
    dict: ("object",),
    list: ("array",),
    tuple: ("array",),
    type(None): ("null",),
    collections.abc.Mapping: ("object",),
    collections.abc.MutableMapping: ("object",),
    # A text is a sequence too.
    collections.abc.Sequence: ("array", "string"),
    collections.abc.Iterable: ("array", "object", "string"),
    collections.abc.Collection: ("array", "object", "string"),
}

#: An Iterable may be a mapping, whose elements are its keys.
_LISTS: Final = (list, collections.abc.Sequence)
_MAPPINGS: Final = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_SIMPLE: Final = frozenset({"null", "boolean", "integer", "number", "string"})
_NAMES: Final[dict[type, JsonType]] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


def shape_of(annotation: Any) -> Shape:
    """Return the values that an annotation allows."""
    if isinstance(annotation, typing.NewType):
        return shape_of(annotation.__supertype__)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return shape_of(arguments[0])
    if origin is typing.Literal:
        values = tuple(arguments)
        return Shape(values=values) if all(type(value) in {str, int, bool, type(None)} for value in values) else ANY
    if origin in {typing.Union, types.UnionType}:
        return _union([shape_of(argument) for argument in arguments])
    if typing.is_typeddict(annotation):
        return Shape(("object",))
    try:
        return Shape(_TYPES.get(origin or annotation), items=_items(origin, arguments))
    except TypeError:  # an annotation that can't be hashed
        return ANY


def _items(origin: Any, arguments: Sequence[Any]) -> Shape | None:
    """Return the shape of the elements of `list[T]` and its like, and of the values of `dict[str, T]`."""
    if origin in _LISTS and len(arguments) == 1:
        return shape_of(arguments[0])
    return shape_of(arguments[1]) if origin in _MAPPINGS and len(arguments) == 2 else None


def _union(members: list[Shape]) -> Shape:
    if ANY in members:
        return ANY
    nested = [member for member in members if member.items is not None]
    if all(member.values is None for member in members):
        allowed = tuple(dict.fromkeys(each for member in members for each in member.types or ()))
        # Of `list[int] | list[str]` nothing is known of an element.
        alone = len(nested) == 1 and sum(not _SIMPLE.issuperset(member.types or ()) for member in members) == 1
        return Shape(allowed, items=nested[0].items if alone else None)
    if all(member.values is not None or member.types == ("null",) for member in members):
        return Shape(values=tuple(value for member in members for value in (member.values or (None,))))
    return ANY


def json_type(value: object) -> JsonType:
    """Return the type of JSON that a value has."""
    if value is None:
        return "null"
    return _NAMES[type(value)]
