"""Annotations of Python as types of JSON, as far as JSON can break them."""

from __future__ import annotations

import collections.abc
import types
import typing
from typing import Any, Final

from bridge.config.manifest import JsonType

_TYPES: Final[dict[Any, tuple[JsonType, ...]]] = {
    str: ("string",),
    bool: ("boolean",),
    int: ("integer",),
    float: ("integer", "number"),
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

Allowed = tuple[tuple[JsonType, ...] | None, tuple[Any, ...] | None]
_ANY: Final[Allowed] = (None, None)


def allowed(annotation: Any) -> Allowed:
    """Return the types of JSON that an annotation allows, and the only values; None for each that it leaves open."""
    if isinstance(annotation, typing.NewType):
        return allowed(annotation.__supertype__)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return allowed(arguments[0])
    if origin is typing.Literal:
        values = tuple(arguments)
        return (None, values) if all(type(value) in {str, int, bool, type(None)} for value in values) else _ANY
    if origin in {typing.Union, types.UnionType}:
        return _union([allowed(argument) for argument in arguments])
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
    names: dict[type, JsonType] = {
        bool: "boolean",
        int: "integer",
        float: "number",
        str: "string",
        list: "array",
        dict: "object",
    }
    return names[type(value)]
