"""Values that `foreach` writes again for each element: the bytes of its messages have a bound, and here numbers pay.

To write a number takes 10 to 50 times as long as other JSON of its size. The numbers of the elements themselves are no
more than those of the event.
"""

from __future__ import annotations

from typing import Any, Final

from bridge.routing.expressions.purse import Purse, print_steps, take

#: What it costs to write a number with a fraction, and to look at an item.
_PER_FLOAT: Final = 5
_PER_ITEM: Final = 2
_CONTAINERS: Final = frozenset({list, dict})


def repeated(purse: Purse, value: Any) -> Any:
    """Return a value that may stand in the message of each element, its numbers paid for.

    The purse remembers what a list or a mapping costs, and those in it, since one that an expression makes for an
    element may hold one of the payload.
    """
    kind = type(value)
    if kind is int:
        take(purse, print_steps(value))
    elif kind is float:
        take(purse, _PER_FLOAT)
    elif kind in _CONTAINERS:
        take(purse, _cost(purse, value, is_outer=True))
    return value


def _cost(purse: Purse, value: Any, *, is_outer: bool) -> int:
    """Return what it costs to write the numbers of a list or a mapping; looking for them is paid at once."""
    if purse.repeated is None:
        purse.repeated = {}
    known = purse.repeated.get(id(value))
    if known is not None:
        return known[0]
    cost = 0
    stack = [value]
    while stack:
        container = stack.pop()
        take(purse, _PER_ITEM * len(container))
        for item in container.values() if type(container) is dict else container:
            kind = type(item)
            if kind is float:
                cost += _PER_FLOAT
            elif kind is int:
                cost += print_steps(item)
            elif kind in _CONTAINERS:
                if is_outer and container is value:
                    cost += _cost(purse, item, is_outer=False)
                else:
                    stack.append(item)
    purse.repeated[id(value)] = cost, value  # with the value, so that no other one gets its id
    return cost


#: The name by which the function of a route calls it.
RUNTIME: Final[dict[str, object]] = {"_repeated": repeated}
