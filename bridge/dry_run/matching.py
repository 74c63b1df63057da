"""Pairs what is expected with what was found, so that as many as possible are paired."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

_Wanted = TypeVar("_Wanted")
_Found = TypeVar("_Found")


def matching(
    wanted: Sequence[_Wanted], found: Sequence[_Found], meets: Callable[[_Wanted, _Found], bool]
) -> dict[int, int]:
    """Return the number of a found one that meets it, by the number of the wanted one; each is in one pair at most.

    No other pairing has more pairs: one that is vague, such as `{actor: act}`, takes nothing from one that is exact.
    """
    taken: dict[int, int] = {}
    pairs: dict[int, int] = {}
    for start, want in enumerate(wanted):
        free = next((at for at, one in enumerate(found) if at not in taken and meets(want, one)), None)
        if free is not None:
            taken[free], pairs[start] = start, free
            continue
        # By breadth: each found one that is taken leads on to the wanted one that has it, which may take another.
        reached_by: dict[int, int] = {}
        queue = [start]
        for number in queue:
            fresh = [at for at, one in enumerate(found) if at not in reached_by and meets(wanted[number], one)]
            reached_by |= dict.fromkeys(fresh, number)
            free = next((at for at in fresh if at not in taken), None)
            if free is not None:
                _shift(free, reached_by, taken, pairs)
                break
            queue += [taken[at] for at in fresh]
    return pairs


def _shift(free: int, reached_by: dict[int, int], taken: dict[int, int], pairs: dict[int, int]) -> None:
    """Give `free` to the wanted one that reached it, the one that this had to the one that reached that, and so on."""
    at: int | None = free
    while at is not None:
        number = reached_by[at]
        before = pairs.get(number)
        taken[at], pairs[number] = number, at
        at = before
