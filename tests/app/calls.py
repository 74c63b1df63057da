"""What the actors were called with."""

from __future__ import annotations

from typing import Any, Final

#: (actor, positional arguments, keyword arguments), in the order of the calls.
CALLS: Final[list[tuple[str, list[Any], dict[str, Any]]]] = []


def called(actor: str, *args: Any, **kwargs: Any) -> None:
    """Record a call."""
    CALLS.append((actor, list(args), kwargs))
