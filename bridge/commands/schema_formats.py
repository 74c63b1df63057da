"""The formats of JSON Schema that the library checks: it is asked, since each draft has others."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

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


@lru_cache(256)
def is_checked(name: str, draft: str | None) -> bool:
    """Tell whether `format: name` checks anything by a draft, which the `$schema` of a schema names."""
    schema = {"format": name} if draft is None else {"format": name, "$schema": draft}
    return not Validator(Schema(schema, "")).is_valid(_OF_NO_FORMAT)


def checked_formats(draft: str | None) -> list[str]:
    """Return the formats that a draft checks."""
    return [name for name in _FORMATS if is_checked(name, draft)]
