"""Text that `${...}` put into a value: it knows no types of its own."""

from __future__ import annotations


class Substituted(str):
    """Text that came from `${...}` in an unquoted scalar: it may become a number where one is expected."""

    __slots__ = ()


def coerced(value: object) -> object:
    """Make a number or a boolean of a substituted text, which knows no types of its own."""
    if isinstance(value, Substituted):
        if value in {"true", "false"}:
            return value == "true"
        if value.removeprefix("-").isdecimal() and len(value) < 20:
            return int(value)
    return value


def plain(value: object) -> object:
    """Return a value of the file in the plainest types: text that was substituted is only text."""
    if isinstance(value, Substituted):
        return str(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value
