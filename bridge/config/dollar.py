"""The sign `$`: text that begins with it is an expression, and `$$` begins a literal `$`."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from bridge.errors import KeyPath


def is_expression(value: object) -> bool:
    """Tell whether a value of the file is an expression."""
    return isinstance(value, str) and value.startswith("$") and not value.startswith("$$")


def literal_text(text: str) -> str:
    """Return the text that a literal stands for."""
    return text[1:] if text.startswith("$$") else text


def texts(path: KeyPath, value: object) -> Iterator[tuple[KeyPath, str]]:
    """Yield each text in the value at `path` of a checked file, expressions and literals, with its own path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from texts((*path, name), getattr(value, name))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts((*path, key), item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from texts((*path, index), item)
