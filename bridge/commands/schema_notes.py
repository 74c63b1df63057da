"""The notes of `check` on JSON Schemas: words that look like a keyword or a format and are none, so that they check nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bridge.commands.schema_formats import checked_formats, is_checked, is_keyword
from bridge.config import Config
from bridge.config.schemas import schema_of
from bridge.config.wording import near_miss, nearest, quoted, spell_path
from bridge.errors import Diagnostic, KeyPath

#: The keywords of all drafts by their values: schemas by names of the payload's own, one or a list of them, anything else.
_BY_NAME: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
_SCHEMAS: Final = (
    *("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "items", "prefixItems", "additionalItems", "contains"),
    *("additionalProperties", "propertyNames", "unevaluatedItems", "unevaluatedProperties", "contentSchema"),
)
_CHECKING: Final = (
    *("type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "format"),
    *("maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "maxContains", "minContains"),
    *("maxProperties", "minProperties", "required", "dependentRequired", "$ref", "$dynamicRef", "$recursiveRef"),
)
#: A misspelt one of these checks no less than the right one.
_OTHERS: Final = (
    *("$schema", "$id", "id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary", "$comment", "title"),
    *(
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "contentEncoding",
        "contentMediaType",
    ),
)
_KNOWN: Final = frozenset((*_BY_NAME, *_SCHEMAS, *_CHECKING, *_OTHERS))
#: `not` is left out: `note` is a word that people add.
_PROPOSED: Final = tuple(word for word in (*_BY_NAME, *_SCHEMAS, *_CHECKING) if word != "not")
_NULLABLE: Final = (
    "'nullable' is OpenAPI's, and allows no null here; write type: [string, 'null'], with the type of the value"
)
_CHECKS: Final = frozenset((*_BY_NAME, *_SCHEMAS, *_CHECKING)) - {"$ref", "$defs", "definitions"}
_ALONE: Final = "in this draft of JSON Schema nothing beside $ref is checked; write allOf: [{$ref: ...}] beside it"
_SIMILARITY: Final = 0.75
#: So many different words of one schema are compared, which takes 0.1 ms each.
_MAX_WORDS: Final = 200


def schema_notes(loaded: Config) -> Iterator[Diagnostic]:
    """Yield a note on each of these words; those of a file stand at the first `validate` that names it."""
    seen: set[str] = set()
    settings: list[tuple[KeyPath, str, object]] = [
        (("sources", name), f"sources.{name}", source.validation) for name, source in loaded.sources.items()
    ]
    settings += [
        (("routes", index), f"route {route.name}", route.validation) for index, route in enumerate(loaded.routes)
    ]
    for owner, words, setting in settings:
        schema = schema_of(setting, loaded.schemas)
        if schema is None or (isinstance(setting, str) and setting in seen):
            continue
        path = (*owner, "validate")
        if isinstance(setting, str):
            seen.add(setting)
        for place, problem, at_key in _without_effect(schema.value):
            if isinstance(setting, str):
                yield Diagnostic(path, f"{words}: {problem} ({setting}: {spell_path(place)})")
            else:
                yield Diagnostic((*path, *place), f"{words}: {problem}", at_key=at_key)


def _without_effect(schema: object) -> Iterator[tuple[KeyPath, str, bool]]:
    """Yield the place of each word that checks nothing, why, and whether it is a key."""
    found: dict[str, str] = {}
    draft = schema.get("$schema") if isinstance(schema, dict) else None
    left: list[tuple[KeyPath, object]] = [((), schema)]
    while left:
        path, value = left.pop()
        if not isinstance(value, dict):
            continue
        inner: list[tuple[KeyPath, object]] = []
        if "$ref" in value and _CHECKS.intersection(value) and not is_keyword("$ref", draft):
            yield (*path, "$ref"), _ALONE, True
        for key, child in value.items():
            place = (*path, key)
            if problem := _problem(key, child, found, draft):
                yield place, problem, key != "format"
            if key in _BY_NAME:
                inner += [((*place, name), one) for name, one in child.items()] if isinstance(child, dict) else []
            elif key in _SCHEMAS:
                inner += (
                    [((*place, index), one) for index, one in enumerate(child)]
                    if isinstance(child, list)
                    else [(place, child)]
                )
        left += reversed(inner)


def _problem(key: str, value: object, found: dict[str, str], draft: str | None) -> str:
    """Return why a word of a schema checks nothing, "" where it does, or is an annotation; `found` has those so far."""
    if key == "nullable":
        return _NULLABLE if value is True else ""
    is_format = key == "format" and isinstance(value, str)
    if key in _KNOWN and not is_format:
        return (
            ""
            if is_keyword(key, draft) or key == "$ref"
            else f"{quoted(key)} checks nothing in this draft of JSON Schema"
        )
    word = f"format: {value}" if is_format else key
    if word not in found and len(found) < _MAX_WORDS:
        found[word] = _of_format(str(value), draft) if is_format else _of_word(key)
    return found.get(word, "")


def _of_word(key: str) -> str:
    near = nearest(key, _PROPOSED, _SIMILARITY)
    return f"{quoted(key)} is no keyword of JSON Schema, and checks nothing; did you mean {near!r}?" if near else ""


def _of_format(name: str, draft: str | None) -> str:
    if is_checked(name, draft):
        return ""
    near = near_miss(name, checked_formats(draft), _SIMILARITY)
    return f"the format {quoted(name)} checks nothing{f'; {near}' if near else ' in this draft of JSON Schema'}"
