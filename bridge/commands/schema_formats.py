"""The formats and the keywords of JSON Schema that the library checks: it is asked, since each draft has others."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from bridge.config.schemas import Schema, Validator

_FORMATS: Final = (
    *("date", "date-time", "time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6", "uri"),
    *(
        "uri-reference",
        "iri",
        "iri-reference",
        "uri-template",
        "json-pointer",
        "relative-json-pointer",
        "uuid",
        "regex",
    ),
)
#: A text that fits none of them.
_OF_NO_FORMAT: Final = "{\\("
#: For each keyword that not every draft has, a schema and a payload that fits it only where the keyword checks nothing.
_KEYWORDS: Final[Mapping[str, tuple[dict[str, Any], object]]] = {
    "const": ({"const": 1}, 2),
    "contains": ({"contains": {"type": "string"}}, [1]),
    "propertyNames": ({"propertyNames": {"maxLength": 1}}, {"ab": 1}),
    "if": ({"if": {}, "then": {"type": "string"}}, 1),
    "minContains": ({"contains": {}, "minContains": 2}, [1]),
    "maxContains": ({"contains": {}, "maxContains": 1}, [1, 2]),
    "dependentRequired": ({"dependentRequired": {"a": ["b"]}}, {"a": 1}),
    "dependentSchemas": ({"dependentSchemas": {"a": {"required": ["b"]}}}, {"a": 1}),
    "unevaluatedItems": ({"unevaluatedItems": False}, [1]),
    "unevaluatedProperties": ({"unevaluatedProperties": False}, {"a": 1}),
    "prefixItems": ({"prefixItems": [{"type": "string"}]}, [1]),
    "additionalItems": ({"items": [{}], "additionalItems": False}, [1, 2]),
    "$ref": ({"$ref": "#/definitions/a", "definitions": {"a": {}}, "type": "string"}, 1),
}


@lru_cache(256)
def is_checked(name: str, draft: str | None) -> bool:
    """Tell whether `format: name` checks anything by a draft, which the `$schema` of a schema names."""
    schema = {"format": name} if draft is None else {"format": name, "$schema": draft}
    return not Validator(Schema(schema, "")).is_valid(_OF_NO_FORMAT)


def checked_formats(draft: str | None) -> list[str]:
    """Return the formats that a draft checks."""
    return [name for name in _FORMATS if is_checked(name, draft)]


@lru_cache(256)
def is_keyword(word: str, draft: str | None) -> bool:
    """Tell whether a keyword of JSON Schema checks anything by a draft; of `$ref`, whether the keywords beside it do."""
    if word not in _KEYWORDS:
        return True
    schema, payload = _KEYWORDS[word]
    try:
        return not Validator(Schema(schema if draft is None else {**schema, "$schema": draft}, "")).is_valid(payload)
    except ValueError:
        return False  # newer drafts take no list as `items`, which `additionalItems` needs
