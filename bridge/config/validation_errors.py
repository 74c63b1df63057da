"""pydantic's validation errors in the words of the file."""

from __future__ import annotations

import functools
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from bridge.config.substitution import Substituted
from bridge.config.synonyms import renamed
from bridge.config.wording import describe, flow, listed, near_miss, quoted
from bridge.errors import Diagnostic, InvalidValue, KeyPath

#: The expected value, by pydantic's type of error.
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
    "too_long": "takes at most {max_length} entries",
}
#: A number that is one without quotes too, in all YAML.
_DIGITS: Final = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_BOOLEANS: Final = {
    **dict.fromkeys(("true", "false"), "write it without quotes"),
    **dict.fromkeys(("yes", "on"), "write true"),
    **dict.fromkeys(("no", "off"), "write false"),
}
#: The keys of a file that is no configuration, but a part of one.
_IN_A_PART: Final = frozenset({"routes", "tables", "tests"})
_PART: Final = "add sources; a file that another one includes is checked through that one"
_TESTS: Final = "these are tests of another file: give that one, which brings NAME_test.yaml beside NAME.yaml with it"
#: By its key, the remedy for a value that is neither true nor false, and that people take for something else.
_INSTEAD: Final = {
    "expires": "true takes the time of the event itself; a time of yours is options: {max_age: 30s}",
    "otherwise": "a condition goes into when:",
}
#: The last step of pydantic's path where the mistake is a key of a mapping.
_KEY: Final = "[key]"


def translate(error: ValidationError, config: type[BaseModel]) -> Iterator[Diagnostic]:
    """Yield every mistake that pydantic found, at its path in the file."""
    for details in error.errors(include_url=False):
        loc = details["loc"]
        is_key = loc[-1:] == (_KEY,)
        path, model, last = _path(loc[:-1] if is_key else loc, config)
        kind, context = details["type"], details.get("ctx", {})
        if kind == "missing":
            yield _missing(path, model, details["input"])
        elif kind == "extra_forbidden":
            yield _unknown_key(path, model, config)
        elif kind == "value_error":
            invalid: InvalidValue = context["error"]  # no validator of ours raises another ValueError
            yield from (diagnostic.below(path) for diagnostic in invalid.diagnostics)
        elif kind == "union_tag_not_found":
            message = "the key 'type' is missing"
            yield Diagnostic(path, message, f"add type: {listed(_tags(path, config))}", at_key=True)
        elif kind == "union_tag_invalid":
            tags = _tags(path, config)
            hint = near_miss(context["tag"], tags, 0.5) or f"it is one of {listed(tags)}"
            yield Diagnostic((*path, "type"), f"unknown type {quoted(context['tag'])}", hint)
        else:
            message, hint = _plain_words(kind, context, details["input"])
            hint = hint or _example(kind, path, last)
            yield Diagnostic(path, message, hint, at_key=is_key)


def _plain_words(kind: str, context: dict[str, Any], value: object) -> tuple[str, str]:
    """Return message and hint."""
    if expected := _EXPECTED.get(kind):
        return f"takes {expected}, not {_shape(value, expected)}", _remedy(expected, value)
    if kind == "literal_error":
        choices = _choices(context)
        if isinstance(value, int) and choices[0].isdecimal():
            return f"takes {listed(choices)}", ""
        if not isinstance(value, str):
            return f"takes {listed(choices)}, not {describe(value)}", ""
        return f"takes {listed(choices)}", near_miss(value, choices, 0.6)
    words = _BOUNDS.get(kind, "this value cannot be used")
    return words.format(**context), ""


def _shape(value: object, expected: str) -> str:
    if expected == "a whole number" and isinstance(value, float):
        return "a fraction"
    return describe(value)


def _remedy(expected: str, value: object) -> str:
    if expected == "text" and isinstance(value, (bool, int, float)):
        return "quote it"
    if not isinstance(value, str) or isinstance(value, Substituted):
        return ""
    if expected == "a whole number" and _DIGITS.fullmatch(value):
        return "write it without quotes"
    return _BOOLEANS.get(value.lower(), "") if expected == "true or false" else ""


def _example(kind: str, path: KeyPath, last: tuple[str, FieldInfo] | None) -> str:
    """Return the hint with a right value, where a list or a mapping has to stand; `last` is the path's last key of a model."""
    key = path[-1] if path else ""
    if kind == "bool_type" and key in _INSTEAD:
        return _INSTEAD[str(key)]
    if _EXPECTED.get(kind) not in {"a list", "a mapping"} or last is None or not last[1].examples:
        return ""
    example: Any = last[1].examples[0]
    if isinstance(key, int):
        return f"as in {flow(example[0])}" if isinstance(example, list) and example else ""
    if key != last[0] and isinstance(example, dict):
        return f"as in {flow(next(iter(example.values())))}"
    return f"as in {key}: {flow(example)}"


def first_choices(error: ValidationError, config: type[BaseModel]) -> dict[KeyPath, str]:
    """Return the first of the allowed values, by the path of each value that is none of them."""
    return {
        _path(details["loc"], config)[0]: _choices(details["ctx"])[0]
        for details in error.errors(include_url=False)
        if details["type"] == "literal_error"
    }


def _choices(context: Mapping[str, Any]) -> list[str]:
    """Return the values that a Literal takes, out of pydantic's words: `'a', 'b' or 'c'`."""
    return [word.strip("' ") for word in context["expected"].replace(" or ", ",").split(",")]


def _missing(path: KeyPath, model: type[BaseModel] | None, given: Any) -> Diagnostic:
    key = str(path[-1])
    if path == ("sources",) and len(given) > 0 and _IN_A_PART.issuperset(given):
        hint = _TESTS if [*given] == ["tests"] else _PART
        return Diagnostic((), f"the key '{key}' is missing", hint, at_key=True)
    field = _fields(model).get(key)
    hint = f"add {key}: {field.description}" if field is not None else ""
    return Diagnostic(path[:-1], f"the key '{key}' is missing", hint, at_key=True)


def _unknown_key(path: KeyPath, model: type[BaseModel] | None, config: type[BaseModel]) -> Diagnostic:
    key, known = str(path[-1]), list(_fields(model))
    if reason := getattr(model, "without", {}).get(key):
        return Diagnostic(path, f"there is no {quoted(key)} here", reason, at_key=True)
    near = near_miss(key, known, 0.8)
    hint = near or renamed(key, known) or _owned(key, config) or near_miss(key, known)
    return Diagnostic(path, f"unknown key {quoted(key)}", hint or f"known keys: {', '.join(known)}", at_key=True)


def _owned(key: str, config: type[BaseModel]) -> str:
    """Return the hint for a key that stands at another place of the file, "" where it is none, or of many places."""
    places = _owners(config).get(key, [])
    return f"it is a key of {listed(places)}" if 0 < len(places) <= _MAX_OWNERS else ""


#: The members of a list or a mapping, by its key.
_ONE_OF: Final = {
    "sources": "a source",
    "routes": "a route",
    "then": "a step of then",
    "tables": "a table",
    "tests": "a test",
    "event": "the event of a test",
}
_MAX_OWNERS: Final = 4


@functools.cache
def _owners(config: type[BaseModel]) -> dict[str, list[str]]:
    """Return by each key of a file the places that have it, in words; `config` is the model of the whole file."""
    found: dict[str, dict[str, None]] = {}
    left: list[tuple[str, Any]] = [("the file itself", config)]
    while left:
        words, annotation = left.pop(0)
        members = _members(annotation)
        keys = [set(_fields(member)) for member in members if _is_model(member)]
        for member in members:
            if not _is_model(member):
                left += [
                    (words, argument) for argument in typing.get_args(member)[-1:] if not isinstance(argument, str)
                ]
                continue
            for key, field in _fields(member).items():
                is_common = all(key in each for each in keys)
                found.setdefault(key, {})[words if is_common else f"{words} of type {_tag(member)}"] = None
                if words != "defaults" and key not in {"expect", "expect_dead_letter"}:
                    left.append((_ONE_OF.get(key, key), field.annotation))
    return {key: [*words] for key, words in found.items()}


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


@functools.cache
def _fields(model: type[BaseModel] | None) -> dict[str, Any]:
    if model is None:
        return {}
    return {str(field.validation_alias or name): field for name, field in model.model_fields.items()}


def _path(
    loc: Sequence[str | int], config: type[BaseModel]
) -> tuple[KeyPath, type[BaseModel] | None, tuple[str, FieldInfo] | None]:
    """Return the path in the file of pydantic's `loc`, which holds tags of unions too, and the model of its last key.

    Return also the last step that is a key of a model, with its field: list items and names stand below it.
    """
    path: list[str | int] = []
    owner: type[BaseModel] | None = None
    last: tuple[str, FieldInfo] | None = None
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
            last = (str(step), field) if field is not None else None
        elif typing.get_origin(inside) in {dict, list}:
            inside = typing.get_args(inside)[-1]
    return tuple(path), owner, last


def _members(annotation: Any) -> list[Any]:
    """Return the types that an annotation allows: the members of a union, without None."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        return [argument for argument in typing.get_args(annotation) if argument is not type(None)]
    return [] if annotation is None else [annotation]


def _tag(model: Any) -> str:
    """Return the value of `type` in this model of the union, or an empty text."""
    fields = getattr(model, "model_fields", {})
    return str(typing.get_args(fields["type"].annotation)[0]) if "type" in fields else ""


def _tags(path: KeyPath, config: type[BaseModel]) -> list[str]:
    inside: Any = config
    for step in path:
        (inside,) = _members(inside)
        inside = (
            _fields(inside)[str(step)].annotation if hasattr(inside, "model_fields") else typing.get_args(inside)[-1]
        )
    return [_tag(member) for member in _members(inside)]
