"""The types of JSON that a Python annotation allows."""

from __future__ import annotations

import collections.abc
import types
import typing
from typing import Any, Final

from bridge.config.manifest import JsonType

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

_NAMES: Final[dict[type, JsonType]] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}

Allowed = tuple[tuple[JsonType, ...] | None, tuple[Any, ...] | None]
_ANY: Final[Allowed] = (None, None)


def json_types_of(annotation: Any) -> Allowed:
    """Return the types of JSON that an annotation allows, and the only values; None for each that it leaves open."""
    if isinstance(annotation, typing.NewType):
        return json_types_of(annotation.__supertype__)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return json_types_of(arguments[0])
    if origin is typing.Literal:
        values = tuple(arguments)
        return (None, values) if all(type(value) in {str, int, bool, type(None)} for value in values) else _ANY
    if origin in {typing.Union, types.UnionType}:
        return _union([json_types_of(argument) for argument in arguments])
    if typing.is_typeddict(annotation):
        return ("object",), None
    try:
        return _TYPES.get(origin or annotation), None
    except TypeError:  # an annotation that can't be hashed
        return _ANY


def _union(members: list[Allowed]) -> Allowed:
    if any(member == _ANY for member in members):
        return _ANY
    if all(values is None for _, values in members):
        return tuple(dict.fromkeys(each for kinds, _ in members for each in kinds or ())), None
    if all(values is not None or kinds == ("null",) for kinds, values in members):
        return None, tuple(value for kinds, values in members for value in (values or (None,)))
    return _ANY


def json_type(value: object) -> JsonType:
    """Return the type of JSON that a value has."""
    if value is None:
        return "null"
    return _NAMES[type(value)]
