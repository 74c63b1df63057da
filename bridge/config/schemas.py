"""`validate:`, a JSON Schema for payloads: its file, its mistakes, and its validator, by jsonschema-rs.

That library is an extra, imported where a schema is. It is told to compile patterns to automata, which take time in
proportion to the text, and to load nothing from elsewhere.
"""

from __future__ import annotations

import graphlib
import hashlib
import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import unquote

import msgspec
import re2
from pydantic import BeforeValidator, WithJsonSchema

from bridge.config.connection import or_null
from bridge.config.files import UnreadableFile, named, read_file
from bridge.config.json_rows import json_line
from bridge.config.reader import parse
from bridge.config.substitution import NO_SUBSTITUTION, unmarked
from bridge.config.wording import describe, listed, quoted, spell_path
from bridge.errors import Diagnostic, InvalidValue, KeyPath, LocatedDiagnostic

MAX_BYTES: Final = 1 << 20
_FORMATS: Final = (".json", ".yaml", ".yml")
_NO_LIBRARY: Final = Diagnostic((), "validate needs the library jsonschema-rs", "pip install 'dramatiq-bridge[schema]'")
#: Stands for a value of the payload in the library's errors, which would quote it at any length.
_MASK: Final = "[value]"
#: The library's words for the schema `false`.
_NOTHING_ALLOWED: Final = f"False schema does not allow {_MASK}"
_MAX_ERROR: Final = 300
_MAX_PLACE: Final = 80
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_TYPES: Final = ("array", "boolean", "integer", "null", "number", "object", "string")
_RESOURCE: Final = re.compile(r"Resource '([^']*)' is not present")
_POINTER: Final = re.compile(r"Pointer '([^']*)' does not exist")
_UNKNOWN_DRAFT: Final = re.compile(r"Unknown meta-schema: '([^']*)'")


def check_setting(value: object) -> object:
    """Return the value of `validate`: the name of a file, or a schema.

    Raises:
        InvalidValue: it is neither.
    """
    if isinstance(value, dict):
        return unmarked(value)
    if not isinstance(value, str) or not value:
        raise InvalidValue(f"takes a file or a JSON Schema, not {describe(value)}", "as in order.schema.json")
    if Path(value).suffix.lower() not in _FORMATS:
        raise InvalidValue(f"takes a file whose name ends with {listed(_FORMATS)}, or a JSON Schema")
    return str(value)


#: The key `validate`, which a model can't have as an attribute: pydantic has it.
Validation = Annotated[
    str | dict[str, Any] | None,
    BeforeValidator(or_null(check_setting)),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}, {"type": "null"}]}),
]


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema, and its name in errors."""

    value: Any
    name: str
    #: Of the file.
    digest: bytes = field(default=b"", compare=False)


class Validator:
    """Checks payloads by a schema; `explain` says why one does not fit."""

    def __init__(self, schema: Schema) -> None:
        """Compile the schema, which has no mistakes."""
        self._validator = _compile(schema.value)
        self._name = schema.name
        # Of a recursive schema the library makes no error in less than exponential time (0.61.2: 48 s for a list nested
        # 18 deep, observed); `is_valid` remembers, and takes microseconds.
        self._is_recursive = is_recursive(schema.value)
        self.is_valid = self._validator.is_valid

    def explain(self, payload: object) -> str:
        """Return why a payload does not fit, without a value of it."""
        if self._is_recursive:
            return f"payload does not fit the schema, which refers to itself ({self._name})"
        try:
            self._validator.validate(payload)
        except ValueError as error:
            return self._words(error, payload)
        return "payload does not fit the schema"

    def _words(self, error: Any, payload: object) -> str:
        if not hasattr(error, "instance_path"):
            return f"payload can't be checked: {error}"[:_MAX_ERROR]
        message = str(error.message).replace("\n", " ")
        if message == _NOTHING_ALLOWED:
            message = _in_own_words(error, payload)
        place = _cut("".join(map(_step, error.instance_path)))
        pointer = _cut("".join(f"/{_escaped(step)}" for step in error.schema_path))
        where = f" ({self._name[:_MAX_PLACE]}#{pointer})"
        return f"payload{place}: {message}"[: _MAX_ERROR - len(where)] + where


def _in_own_words(error: Any, payload: Any) -> str:
    """Return why the schema `false`, which allows no value, refuses one; a name is shown as the library shows it elsewhere."""
    if [*error.schema_path][-1:] != ["additionalProperties"]:
        return "no value is allowed here"
    for step in error.instance_path:
        payload = payload[step]
    # The error is that of the mapping, and each of its names is refused.
    return f"Additional properties are not allowed ({quoted(next(iter(payload)))} was unexpected)"


def _step(step: str | int) -> str:
    return f"[{step}]" if isinstance(step, int) else f".{step[:_MAX_PLACE]}"


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_PLACE else f"…{text[-_MAX_PLACE:]}"


def _escaped(step: str | int) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")


def _compile(schema: object) -> Any:
    library = importlib.import_module("jsonschema_rs")
    return library.validator_for(
        schema, pattern_options=library.RegexOptions(), offline=True, mask=_MASK, validate_formats=True
    )


def schema_mistakes(schema: object) -> list[Diagnostic]:
    """Return the mistakes of a schema, at their places in it; the library names the first one."""
    try:
        _compile(schema)
    except ImportError:
        return [_NO_LIBRARY]
    except ValueError as error:
        return [_mistake(error, schema)]
    return []


def _mistake(error: Any, schema: object) -> Diagnostic:
    if not hasattr(error, "instance_path"):
        return Diagnostic((), f"not a usable JSON Schema: {str(error)[:_MAX_ERROR]}")
    message, path = str(error.message), tuple(error.instance_path)
    if message == f'{_MASK} is not a "regex"':
        return Diagnostic(path, f"not a usable pattern: {_pattern_error(str(error.instance))}")
    if path[-1:] == ("type",) and isinstance(error.instance, str):
        return Diagnostic(path, f"there is no type {quoted(error.instance)}", f"the types are {listed(_TYPES, 'and')}")
    if found := _UNKNOWN_DRAFT.match(message):
        return Diagnostic(
            ("$schema",), f"there is no draft {quoted(found[1])}", "it is one of drafts 4, 6, 7, 2019-09 and 2020-12"
        )
    for pattern, problem in (
        (_RESOURCE, "a reference leads to a place in this schema, not to {}"),
        (_POINTER, "the schema has no place {}"),
    ):
        if found := pattern.match(message):
            place = next((at for at, value in _references(schema) if found[1] in value), ())
            return Diagnostic(place, problem.format(quoted(found[1])), "as in #/$defs/name")
    if isinstance(error.instance, (str, int, float, bool, type(None))):
        message = message.replace(_MASK, quoted(error.instance))
    return Diagnostic(path, f"not a JSON Schema: {message.replace(_MASK, 'this')[:_MAX_ERROR]}")


def _pattern_error(pattern: str) -> str:
    if re.search(r"\(\?<?[=!]", pattern):
        return "look-around takes time that may grow beyond all bounds"
    if re.search(r"\\[1-9]", pattern):
        return "a back reference takes time that may grow beyond all bounds"
    try:
        re2.compile(pattern)
    except re2.error as error:
        cause = error.args[0] if error.args else ""
        return cause.decode(errors="replace") if isinstance(cause, bytes) else str(cause)
    return "it is no regular expression of a linear engine, or too large"


def _references(node: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Yield the place and the text of each reference."""
    left: list[tuple[KeyPath, object]] = [(path, node)]
    while left:
        place, value = left.pop()
        if isinstance(value, dict):
            for name in _REFERENCES:
                if isinstance(value.get(name), str):
                    yield (*place, name), value[name]
            left += [((*place, key), child) for key, child in value.items()]
        elif isinstance(value, list):
            left += [((*place, index), child) for index, child in enumerate(value)]


def is_recursive(schema: object) -> bool:
    """Tell whether a schema refers to a part around the reference, or may do so by a name (`$anchor`, `$id`)."""
    found = []
    for place, text in _references(schema):
        target = unquote(text)
        if target != "#" and not target.startswith("#/"):
            return True
        found.append(("/".join(("#", *map(_escaped, place))), target))
    if found and _has_inner_id(schema):
        return True
    targets = {target for _, target in found}
    graph: dict[str, set[str]] = {}
    # Whoever reaches a part reaches the references in it, and the parts in it.
    for inner, target in (*found, *((target, target) for target in targets)):
        parts = inner.split("/")
        for length in range(1, len(parts)):
            if (outer := "/".join(parts[:length])) in targets:
                graph.setdefault(outer, set()).add(target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError:
        return True
    return False


def _has_inner_id(schema: object) -> bool:
    left = list(schema.values()) if isinstance(schema, dict) else []
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if isinstance(value.get("$id", value.get("id")), str):
                return True
            left += value.values()
        elif isinstance(value, list):
            left += value
    return False


def read_schema(file: str, path: Path) -> tuple[Schema | None, list[Diagnostic], list[LocatedDiagnostic]]:
    """Read the schema that `validate: file` names; return the mistakes of the setting, and those in the file."""
    try:
        body = read_file(path, MAX_BYTES)
    except UnreadableFile as error:
        return None, [Diagnostic((), f"{named(path)} {error}")], []
    if path.suffix.lower() == ".json":
        try:
            value = msgspec.json.decode(body.removeprefix(b"\xef\xbb\xbf"))
        except (ValueError, RecursionError) as error:
            line = json_line(body.decode(errors="replace"), error)
            cause = str(error).removeprefix("JSON is malformed: ")
            return None, [], [LocatedDiagnostic(str(path), line, 1, "", f"this is no JSON: {cause}")]
    else:
        document = parse(body, str(path), NO_SUBSTITUTION)
        if not document.flawless:
            return None, [], document.diagnostics()
        value = document.value
    mistakes = schema_mistakes(value)
    if mistakes == [_NO_LIBRARY]:
        return None, mistakes, []
    if mistakes:
        return None, [], _placed(mistakes, body, path)
    return Schema(value, Path(file).name, hashlib.sha256(body).digest()), [], []


def _placed(mistakes: list[Diagnostic], body: bytes, path: Path) -> list[LocatedDiagnostic]:
    """Return the mistakes of a schema with their places in its file, which the reader of YAML finds in JSON too."""
    document = parse(body, str(path), NO_SUBSTITUTION)
    if not document.flawless:
        return [LocatedDiagnostic(str(path), 1, 1, spell_path(each.path), each.message, each.hint) for each in mistakes]
    for mistake in mistakes:
        document.add(mistake)
    return document.diagnostics()


def schema_of(setting: object, read: Mapping[str, Schema]) -> Schema | None:
    """Return the schema of a `validate`: its own, or that of the file, if that could be read."""
    if setting is None:
        return None
    return read.get(setting) if isinstance(setting, str) else Schema(setting, "validate")
