"""Forms as bodies: `a=1&b=two+words`, as application/x-www-form-urlencoded writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote_plus, unquote_to_bytes

from bridge.routing.charset import BOM

#: A form has so many fields at most.
MAX_FIELDS: Final = 10_000


def read_form(body: bytes, charset: str = "utf-8") -> dict[str, Any]:
    """Return the fields of a form, all of them text; of a name that stands more than once a list.

    A line end behind the last field belongs to the program that sent the form (`echo`, a text editor): in a value it is `%0A`.

    Raises:
        ValueError: the body is empty, or not a form: text in `charset`, each field with a "=".
    """
    body.decode(charset)
    if body.count(b"&") >= MAX_FIELDS:
        raise ValueError(f"more than {MAX_FIELDS} fields")
    if b"\0" in body or body.startswith(BOM):
        raise ValueError("a character that no form has")
    if body.endswith(b"\n"):
        body = body.removesuffix(b"\n").removesuffix(b"\r")
    fields: dict[str, Any] = {}
    for field in body.replace(b"+", b" ").split(b"&"):
        if not field:
            continue
        raw_name, equals, raw_value = field.partition(b"=")
        if not equals:
            raise ValueError("a field without =")
        name = (unquote_to_bytes(raw_name) if b"%" in raw_name else raw_name).decode(charset)
        value = (unquote_to_bytes(raw_value) if b"%" in raw_value else raw_value).decode(charset)
        known = fields.get(name)
        if known is None:
            fields[name] = value
        elif isinstance(known, list):
            known.append(value)
        else:
            fields[name] = [known, value]
    if not fields:
        raise ValueError("it has no field")
    return fields


def write_form(fields: object) -> bytes:
    """Return the form that `read_form` reads as `fields`.

    Raises:
        TypeError: they are no fields of a form.
    """
    if not isinstance(fields, Mapping):
        raise TypeError("it takes a mapping")
    pairs = []
    for name, value in fields.items():
        values = value if isinstance(value, list) and len(value) > 1 else [value]
        if not all(isinstance(each, str) for each in values):
            raise TypeError("its fields are text, or lists of at least two texts")
        pairs += [f"{quote_plus(name)}={quote_plus(each)}" for each in values]
    if not pairs:
        raise TypeError("it has at least one field")
    return "&".join(pairs).encode()
