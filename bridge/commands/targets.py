"""The targets of a route's messages in words, for `check` and `graph`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: Of longer lists the rest is counted.
_MAX_NAMES: Final = 4


def spell_targets(targets: Sequence[tuple[str, str]], steps: Sequence[tuple[str, str]]) -> str:
    """Return the actors and their queues, then the steps, as in `resize (queue images), then notify (queue mail)`."""
    actors = list(dict.fromkeys(actor for _, actor in targets))
    queues = list(dict.fromkeys(queue for queue, _ in targets))
    parts = [f"{short(actors)} ({'queue' if len(queues) == 1 else 'queues'} {short(queues)})"]
    return ", then ".join([*parts, *(f"{actor} (queue {queue})" for queue, actor in steps)])


def short(names: Sequence[str]) -> str:
    """Return the names, of many the first few, as in `a, b, c, d, 2 more`."""
    more = len(names) - _MAX_NAMES
    return ", ".join([*names[:_MAX_NAMES], *([f"{more} more"] if more > 0 else [])])
