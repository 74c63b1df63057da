"""Actors of a pipeline: each notes its call as those of `actors` do, and returns its name and its last argument."""

from __future__ import annotations

from typing import Any

import dramatiq

from tests.support.actors import note, queues

__all__ = ["first", "second", "third"]


def _called(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    note(name, args, kwargs)
    return [name, args[-1] if args else None]


@dramatiq.actor(queue_name=queues[0])
def first(*args: Any, **kwargs: Any) -> list[Any]:
    """Take anything."""
    return _called("first", args, kwargs)


@dramatiq.actor(queue_name=queues[0])
def second(*args: Any, **kwargs: Any) -> list[Any]:
    """Take anything."""
    return _called("second", args, kwargs)


@dramatiq.actor(queue_name=queues[-1])
def third(*args: Any, **kwargs: Any) -> list[Any]:
    """Take anything; on the last of the queues."""
    return _called("third", args, kwargs)
