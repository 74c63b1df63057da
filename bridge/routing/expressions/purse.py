"""The purse: the steps that all the loops of a route may take for one event, and the functions that pay from it.

A step is about 10 ns. `loops.py` counts what a turn of a loop costs when it compiles the loop; the functions here pay
for that, and for what only the event can tell: the size of the values that a turn reads and makes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, NoReturn

from bridge.config.wording import describe
from bridge.routing.expressions.equality import contains
from bridge.routing.expressions.regex import capture, compile_capture, compile_regex
from bridge.routing.expressions.values import key

#: The local name of the purse, in the function of a route.
PURSE: Final = "_work"
#: The steps of a route with a comprehension, per event.
STEPS: Final = 1_000_000
#: The steps of a `foreach`, per element that its `foreach_limit` allows.
STEPS_PER_ELEMENT: Final = 1_000
TOO_MANY_STEPS: Final = "the loops of this route take too many steps"
#: The most characters of args and kwargs together, counted as JSON would about need them.
_MAX_SIZE: Final = 4 * 1024 * 1024
# A character of a text costs one step. A list costs _PER_LIST and its elements; a mapping _PER_MAPPING, its keys and its
# values, each of which is an element.
_PER_ELEMENT: Final = 4
_PER_LIST: Final = 20
_PER_MAPPING: Final = 30
#: To print a number takes time in proportion to the square of its digits: it costs a step for so many bits, squared.
_BITS: Final = 200
#: That is the price of one that an expression reads. A text of a number, alone or in a message, costs one for so many.
_PRINTED_BITS: Final = 80
#: Values of these types, and texts, cost steps; the others are free.
_DEEP: Final = frozenset({list, dict, int, bytes})
#: Numbers between these have few digits.
_LOW, _HIGH = -(2**64), 2**64
#: The time of a search is in proportion to the lengths of the text and of the part; in a longer text, to _LONG_PART at most.
_SHORT_TEXT: Final = 2_500
_LONG_PART: Final = 100
#: So many characters are compared in one step.
_COMPARED: Final = 32
#: What a function pays for each place that a part can have in a text, since it makes something of it.
_PER_PLACE: Final = 8
#: A number with an exponent of three digits, in JSON that is read.
_PER_LONG_EXPONENT: Final = 1_000
#: What a search for a regex costs beside its steps, of which so many make one of the purse.
_SEARCH: Final = 150
_REGEX_STEPS: Final = 2

#: Where a loop stands: its line, and the byte offsets of its list and of the whole loop in the text of its expression.
#: A loop whose end is ALL_LINES encloses every expression that runs while it turns.
Place = tuple[int, int, int, int, int]
ALL_LINES: Final = -1


class TooLarge(Exception):
    """The loops of a route took too many steps for one event, or made a value that is too large.

    The event is a dead letter `too-large`. It is no error of a value: no function of the language may catch it, since
    an expression would then go on working with an empty purse.
    """


class Purse:
    """The `steps` that are left for one event, and of each loop that has begun the iterator and its list's length."""

    __slots__ = ("loops", "repeated", "size", "steps")

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.size = 0
        self.loops: dict[Place, tuple[Iterator[Any], int]] = {}
        #: See `repetition.py`.
        self.repeated: dict[int, tuple[int, object]] | None = None

    def elements(self, line: int, start: int, end: int) -> list[tuple[int, int, int, int]]:
        """Return each loop within which a failure at this place happened, the innermost first.

        A loop is the line, the start and the end of its list, and the number of the element that it was at, from 0.
        """
        return [
            (place[0], *place[1:3], length - iterator.__length_hint__() - 1)  # type: ignore[attr-defined]
            for place, (iterator, length) in reversed(self.loops.items())
            if place[-1] == ALL_LINES or (line == place[0] and _is_in_body(place, (start, end)))
        ]


def _is_in_body(place: Place, part: tuple[int, int]) -> bool:
    """Whether a part of an expression is within a loop, and neither the loop itself nor in its list."""
    _, list_start, list_end, start, end = place
    in_list = list_start <= part[0] and part[1] <= list_end
    return start <= part[0] and part[1] <= end and part != (start, end) and not in_list


def _spent() -> NoReturn:
    raise TooLarge(TOO_MANY_STEPS)


def each(purse: Purse, items: Any, weight: int, place: Place) -> Iterator[Any]:
    """Pay for a loop over `items`, each turn of which weighs `weight`, and begin it."""
    if type(items) is not list:
        use = ": use items(x)" if type(items) is dict else ""
        raise TypeError(f"a loop takes a list, not {describe(items)}{use}")
    take(purse, weight * len(items))
    iterator = iter(items)
    purse.loops[place] = (iterator, len(items))
    return iterator


def each_pair(purse: Purse, items: Any, weight: int, place: Place) -> Iterator[Any]:
    """Begin a loop with two names: each element is a list of exactly two."""
    iterator = each(purse, items, weight, place)
    if not ({list}.issuperset(map(type, items)) and {2}.issuperset(map(len, items))):
        for index, item in enumerate(items):
            if type(item) is not list or len(item) != 2:
                found = f"a list of {len(item)}" if type(item) is list else describe(item)
                raise TypeError(f"two names take a list of two, not {found}, element {index}")
    return iterator


def take(purse: Purse, steps: int) -> None:
    """Take steps out of the purse. Raises TooLarge if it has fewer."""
    purse.steps -= steps
    if purse.steps < 0:
        _spent()


def _walk(values: Sequence[Any], steps: int, bits_of_step: int = _BITS) -> tuple[int, int]:
    """Return how many `steps` are left after a walk over the values and all that is in them, and how many characters
    they have.

    Raises TooLarge if there are too few steps. A number has two characters: one at least, and its comma.
    """
    size = 0
    stack: list[Any] = [values]
    while stack:
        container = stack.pop()
        length = len(container)
        if type(container) is dict:
            steps -= _PER_MAPPING + 2 * _PER_ELEMENT * length
            items: Iterable[Any] = chain(container, container.values())
        else:
            steps -= _PER_LIST + _PER_ELEMENT * length
            items = container
        if steps < 0:
            _spent()
        size += 2 * length
        for item in items:
            kind = type(item)
            if kind is int:
                if not _LOW < item < _HIGH:
                    bits = item.bit_length()
                    size += bits // 4
                    steps -= (bits // bits_of_step) ** 2
            elif kind is str or kind is bytes:
                size += len(item)
            elif kind is list or kind is dict:
                stack.append(item)
    return steps, size


def pay(purse: Purse, *values: Any) -> None:
    """Pay for the size of the values, each with everything that is in it."""
    steps = purse.steps
    for value in values:
        kind = type(value)
        if kind is str:
            steps -= len(value)
        elif kind in _DEEP and not (kind is int and _LOW < value < _HIGH):
            steps, size = _walk(values, purse.steps + _PER_LIST)  # `values` itself is a list that costs nothing
            steps -= size
            break
    purse.steps = steps
    if steps < 0:
        _spent()


def paid(purse: Purse, value: Any) -> Any:
    """Return the value of one side of a comparison, paid for."""
    pay(purse, value)
    return value


def print_steps(number: int) -> int:
    """Return what it costs to make a text of a whole number."""
    return 0 if _LOW < number < _HIGH else (number.bit_length() // _PRINTED_BITS) ** 2


def printed(purse: Purse, value: Any) -> Any:
    """Return a value of which a text is made behind the expressions, paid for."""
    if type(value) is int:
        take(purse, print_steps(value))
    else:
        pay(purse, value)
    return value


def metered(purse: Purse, function: Callable[..., Any], *args: Any) -> Any:
    """Call the function; its arguments are paid for before, and its result after it."""
    before = purse.steps
    pay(purse, *args)
    take(purse, before - purse.steps)  # once for the walk, once for the function
    result = function(*args)
    pay(purse, result)
    return result


def seeking(purse: Purse, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function that looks for every place of a part in a text, and makes something for each."""
    if len(args) > 1 and type(args[0]) is str and type(args[1]) is str and args[1]:
        text, part = args[:2]
        take(purse, _seek_steps(text, part) + _PER_PLACE * (len(text) // len(part)))
    return metered(purse, function, *args)


def found(purse: Purse, item: Any, items: Any) -> bool:
    """`item in items`, paid for."""
    if type(item) is str and type(items) is str:
        take(purse, _seek_steps(items, item))
    pay(purse, item, items)
    return contains(item, items)


def _seek_steps(text: str, part: str) -> int:
    """Return what it can cost to look for a part in a text, beside one step per character.

    Python compares the part at each place of a text of less than 2,500 characters, and of a longer one at most 100
    characters of it: measured, 0.4 ms for 1,200 characters in 2,400, and 0.8 ms for 99 in 30,000.
    """
    size = len(text)
    return size * min(len(part), size if size < _SHORT_TEXT else _LONG_PART) // _COMPARED


def searched(purse: Purse, function: Callable[..., Any], text: Any, pattern: str) -> Any:
    """Call a function that looks for a regex: it reads each byte of the text so often as the regex is large."""
    if type(text) is str:
        compiled = (compile_capture if function is capture else compile_regex)(pattern)
        take(purse, _SEARCH + compiled.steps * len(text.encode()) // _REGEX_STEPS)
    result = function(text, pattern)
    pay(purse, result)
    return result


def parsed(purse: Purse, function: Callable[..., Any], text: Any) -> Any:
    """Read JSON: see `json_limits.py` for the numbers that take so long."""
    if type(text) is str:
        take(purse, _PER_LONG_EXPONENT * len(re.findall("[eE][-+]?[0-9]{3}", text)))
    return metered(purse, function, text)


def sliced(purse: Purse, function: Callable[..., Any], value: Any, start: Any, stop: Any) -> Any:
    """Take a slice: its cost is that of the part."""
    if type(value) in (str, list) and type(start) is int and type(stop) is int:
        take(purse, len(range(len(value))[start:stop]))
    return function(value, start, stop)


def keyed(purse: Purse, value: Any) -> str:
    """Return a key of a mapping, paid for: another that is equal is compared character by character."""
    if type(value) is str:
        take(purse, len(value))
    return key(value)


def measured(purse: Purse, value: Any, first: bool) -> Any:  # noqa: FBT001 - compiled code passes it
    """Return the value of one part of a message, if all parts so far have a size that can be encoded."""
    purse.steps, size = _walk((value,), purse.steps, _PRINTED_BITS)
    if purse.steps < 0:  # the last list may have been dear
        _spent()
    purse.size = size if first else purse.size + size
    if purse.size > _MAX_SIZE:
        raise TooLarge(f"the values of the message have more than {_MAX_SIZE} bytes")
    return value


#: The names by which rewritten expressions call these.
RUNTIME: Final[dict[str, object]] = {
    "_each": each,
    "_each_pair": each_pair,
    "_paid": paid,
    "_printed": printed,
    "_metered": metered,
    "_seeking": seeking,
    "_found": found,
    "_keyed": keyed,
    "_parsed": parsed,
    "_searched": searched,
    "_sliced": sliced,
    "_measured": measured,
}
