"""pydantic's errors in the words of the file."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from bridge.config.diagnostics import Finding, Loc, WrongValue, WrongValues, describe, listed, near_miss, quoted
from bridge.config.substituted import Substituted

#: What pydantic's kinds of error expect.
_EXPECTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_BOUNDS: Final = {
    "greater_than_equal": "takes a number from {ge}",
    "less_than_equal": "takes a number up to {le}",
    "string_too_short": "takes text that is not empty",
    "string_too_long": "takes text of at most {max_length} characters",
    "too_short": "takes at least one entry",
}
#: Words that other programs use for a key.
_SYNONYMS: Final = {
    "source": "from",
    "if": "when",
    "condition": "when",
    "uri": "url",
    "channel": "channels",
    "stream": "streams",
    "task": "actor",
    "user": "username",
}


def translate(error: ValidationError, config: type[BaseModel]) -> Iterator[Finding]:
    """Yield every mistake that pydantic found, at its path in the file."""
    for one in error.errors(include_url=False):
        loc, model = _path(one["loc"], config)
        kind, ctx = one["type"], one.get("ctx", {})
        if kind == "missing":
            yield _missing(loc, model)
        elif kind == "extra_forbidden":
            yield _unknown_key(loc, model)
        elif kind == "value_error":
            yield from _wrong_values(loc, ctx["error"])
        elif kind == "union_tag_not_found":
            problem = "the key 'type' is missing"
            yield Finding(loc, problem, f"add type: {listed(_tags(loc, config))}", at_key=True)
        elif kind == "union_tag_invalid":
            tags = _tags(loc, config)
            hint = near_miss(ctx["tag"], tags, 0.5) or f"it is one of {listed(tags)}"
            yield Finding((*loc, "type"), f"unknown type {quoted(ctx['tag'])}", hint)
        else:
            yield Finding(loc, *_plain_words(kind, ctx, one["input"]))


def _plain_words(kind: str, ctx: dict[str, Any], value: object) -> tuple[str, str]:
    if expected := _EXPECTED.get(kind):
        return f"takes {expected}, not {_shape(value, expected)}", _remedy(expected, value)
    if kind == "literal_error":
        choices = [word.strip("' ") for word in ctx["expected"].replace(" or ", ",").split(",")]
        if isinstance(value, int) and choices[0].isdecimal():
            return f"takes {listed(choices)}", ""
        if not isinstance(value, str):
            return f"takes {listed(choices)}, not {describe(value)}", ""
        return f"takes {listed(choices)}", near_miss(value, choices, 0.5)
    words = _BOUNDS.get(kind, "this value cannot be used")
    return words.format(**ctx), ""


def _shape(value: object, expected: str) -> str:
    if expected == "a whole number" and isinstance(value, float):
        return "a fraction"
    return describe(value)


def _remedy(expected: str, value: object) -> str:
    if expected == "text" and isinstance(value, (bool, int, float)):
        return "quote it"
    if expected in {"a whole number", "true or false"} and isinstance(value, str):
        return "" if isinstance(value, Substituted) else "write it without quotes"
    return ""


def _wrong_values(loc: Loc, error: object) -> Iterator[Finding]:
    if isinstance(error, WrongValues):
        for one in error.every:
            yield Finding((*loc, *one.at), one.problem, one.hint, at_key=one.at_key)
    elif isinstance(error, WrongValue):
        yield Finding((*loc, *error.at), error.problem, error.hint)
    else:
        yield Finding(loc, str(error))


def _missing(loc: Loc, model: type[BaseModel] | None) -> Finding:
    key = str(loc[-1])
    field = _fields(model).get(key)
    hint = f"add {key}: {field.description}" if field is not None else ""
    return Finding(loc[:-1], f"the key '{key}' is missing", hint, at_key=True)


def _unknown_key(loc: Loc, model: type[BaseModel] | None) -> Finding:
    key, known = str(loc[-1]), list(_fields(model))
    if reason := getattr(model, "without", {}).get(key):
        return Finding(loc, f"there is no {quoted(key)} here", reason, at_key=True)
    synonym = _SYNONYMS.get(key, "")
    hint = f"did you mean '{synonym}'?" if synonym in known else near_miss(key, known)
    return Finding(loc, f"unknown key {quoted(key)}", hint or f"known keys: {', '.join(known)}", at_key=True)


def _fields(model: type[BaseModel] | None) -> dict[str, Any]:
    if model is None:
        return {}
    return {str(field.validation_alias or name): field for name, field in model.model_fields.items()}


def _path(loc: Sequence[str | int], config: type[BaseModel]) -> tuple[Loc, type[BaseModel] | None]:
    """Return the path in the file, without the tags of unions, and the model that the last key belongs to."""
    path: list[str | int] = []
    owner: type[BaseModel] | None = None
    inside: Any = config
    for step in loc:
        members = _members(inside)
        if len(members) > 1 and all(map(_tag, members)):
            # This step is the union's tag, not a key of the file.
            inside = next((member for member in members if _tag(member) == step), None)
            continue
        path.append(step)
        inside = members[0] if members else None
        owner = None
        if isinstance(inside, type) and issubclass(inside, BaseModel):
            owner = inside
            field = _fields(inside).get(str(step))
            inside = field.annotation if field is not None else None
        elif typing.get_origin(inside) in {dict, list}:
            inside = typing.get_args(inside)[-1]
    return tuple(path), owner


def _members(annotation: Any) -> list[Any]:
    """Return what a value may be by its annotation: the members of a union, null left out."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        return [argument for argument in typing.get_args(annotation) if argument is not type(None)]
    return [] if annotation is None else [annotation]


def _tag(model: Any) -> str:
    """Return what `type` is in this model of the union, or an empty text."""
    fields = getattr(model, "model_fields", {})
    return str(typing.get_args(fields["type"].annotation)[0]) if "type" in fields else ""


def _tags(loc: Loc, config: type[BaseModel]) -> list[str]:
    inside: Any = config
    for step in loc:
        (inside,) = _members(inside)
        inside = (
            _fields(inside)[str(step)].annotation if hasattr(inside, "model_fields") else typing.get_args(inside)[-1]
        )
    return [_tag(member) for member in _members(inside)]
