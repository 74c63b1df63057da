"""The purse: the steps that all the loops of a route may take for one event, and the functions that pay from it.

A step is about 10 ns. `loops.py` counts what a turn of a loop costs when it compiles the loop; the functions here pay for
that, and for what only the event can tell: the size of the values that a turn reads and makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final, NoReturn

from bridge.config.wording import describe

#: The steps of a route with a comprehension, per event.
STEPS: Final = 1_000_000
#: The steps of a `foreach`, per element that its `foreach_limit` allows.
STEPS_PER_ELEMENT: Final = 1_000
#: The most characters of args and kwargs together, counted as JSON would about need them.
_MAX_SIZE: Final = 4 * 1024 * 1024
#: A character of a text costs one step, an element of a list or a mapping so many.
_PER_ELEMENT: Final = 4

#: Where a loop stands: its line, and the byte offsets of its list and of the whole loop in the text of its expression. A
#: loop whose end is ALL_LINES encloses every expression that runs while it turns.
Place = tuple[int, int, int, int, int]
ALL_LINES: Final = -1


class TooLarge(Exception):
    """The loops of a route took too many steps for one event, or made a value that is too large.

    The event is a dead letter `too-large`. It is no error of a value: no function of the language may catch it, since an
    expression would then go on working with an empty purse.
    """


class Purse:
    """The `steps` that are left for one event, and of each loop that has begun the iterator and its list's length."""

    __slots__ = ("loops", "size", "steps")

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.size = 0
        self.loops: dict[Place, tuple[Iterator[Any], int]] = {}

    def elements(self, line: int, start: int, end: int) -> list[tuple[int, int, int, int]]:
        """Return each loop within which a failure at this place happened, the innermost first.

        A loop is the line, the start and the end of its list, and the number of the element that it was at, from 0.
        """
        return [
            (loop_line, list_start, list_end, length - iterator.__length_hint__() - 1)  # type: ignore[attr-defined]
            for (loop_line, list_start, list_end, first, last), (iterator, length) in reversed(self.loops.items())
            if last == ALL_LINES
            or (line == loop_line and first <= start and end <= last and not (list_start <= start and end <= list_end))
        ]


def _spent() -> NoReturn:
    raise TooLarge("the loops of this route take too many steps")


def each(purse: Purse, items: Any, weight: int, place: Place) -> Iterator[Any]:
    """Pay for a loop over `items`, each turn of which weighs `weight`, and begin it."""
    if type(items) is not list:
        use = ": use items(x)" if type(items) is dict else ""
        raise TypeError(f"a loop takes a list, not {describe(items)}{use}")
    length = len(items)
    purse.steps -= weight * length
    if purse.steps < 0:
        _spent()
    iterator = iter(items)
    purse.loops[place] = (iterator, length)
    return iterator


def pairs(items: Any) -> Any:
    """Check the list of a loop with two names: each element is a list of exactly two."""
    if type(items) is list and not ({list}.issuperset(map(type, items)) and {2}.issuperset(map(len, items))):
        for index, item in enumerate(items):
            if type(item) is not list or len(item) != 2:
                found = f"a list of {len(item)}" if type(item) is list else describe(item)
                raise TypeError(f"two names take a list of two, not {found}, element {index}")
    return items


def pay(purse: Purse, *values: Any) -> None:
    """Pay for the size of the values, each with everything that is in it."""
    steps = purse.steps
    stack: list[Any] = [values]
    while stack:
        container = stack.pop()
        steps -= _PER_ELEMENT * len(container)
        if steps < 0:
            purse.steps = steps
            _spent()
        for item in chain(container, container.values()) if type(container) is dict else container:
            kind = type(item)
            if kind is str or kind is bytes:
                steps -= len(item)
            elif kind is list or kind is dict:
                stack.append(item)
    purse.steps = steps
    if steps < 0:
        _spent()


def paid(purse: Purse, value: Any) -> Any:
    """Return the value of one side of a comparison, paid for."""
    pay(purse, value)
    return value


def metered(purse: Purse, function: Callable[..., Any], *args: Any) -> Any:
    """Call the function; its arguments are paid for before, and its result after it."""
    pay(purse, *args)
    result = function(*args)
    pay(purse, result)
    return result


#: The names by which rewritten expressions call these.
RUNTIME: Final[dict[str, object]] = {
    "_each": each,
    "_pairs": pairs,
    "_paid": paid,
    "_metered": metered,
}
