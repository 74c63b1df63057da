"""The notes of `check` on JSON Schemas: words that look like a keyword and are none, so that they check nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bridge.config import Config
from bridge.config.schemas import schema_of
from bridge.config.wording import nearest, quoted, spell_path
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
        for place, near in _misspelt(schema.value):
            text = (
                f"{words}: {quoted(place[-1])} is no keyword of JSON Schema, and checks nothing; did you mean {near!r}?"
            )
            if isinstance(setting, str):
                yield Diagnostic(path, f"{text} ({setting}: {spell_path(place)})")
            else:
                yield Diagnostic((*path, *place), text, at_key=True)


def _misspelt(schema: object) -> Iterator[tuple[KeyPath, str]]:
    """Yield the place of each word that is near to a keyword, and the keyword."""
    keywords: dict[str, str] = {}
    left: list[tuple[KeyPath, object]] = [((), schema)]
    while left:
        path, value = left.pop()
        if not isinstance(value, dict):
            continue
        inner: list[tuple[KeyPath, object]] = []
        for key, child in value.items():
            place = (*path, key)
            if key in _BY_NAME:
                inner += [((*place, name), one) for name, one in child.items()] if isinstance(child, dict) else []
            elif key in _SCHEMAS:
                inner += (
                    [((*place, index), one) for index, one in enumerate(child)]
                    if isinstance(child, list)
                    else [(place, child)]
                )
            elif key not in _KNOWN:
                if key not in keywords and len(keywords) < _MAX_WORDS:
                    keywords[key] = nearest(key, _PROPOSED, _SIMILARITY)
                if near := keywords.get(key):
                    yield place, near
        left += reversed(inner)
