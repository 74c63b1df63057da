"""The sign `$`: text that begins with it is an expression, and `$$` begins a literal `$`."""

from __future__ import annotations


def is_expression(value: object) -> bool:
    """Tell whether a value of the file is an expression."""
    return isinstance(value, str) and value.startswith("$") and not value.startswith("$$")


def literal_text(text: str) -> str:
    """Return the text that a literal stands for."""
    return text[1:] if text.startswith("$$") else text
