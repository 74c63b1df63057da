"""Amounts of money: `decimal` and `cents`, exact, and nothing is guessed.

An amount is read as a whole number of its smallest part and a count of places: no float is ever computed with.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any, Final, NamedTuple, NoReturn

from bridge.config.wording import quoted
from bridge.routing.expressions.values import refuse

#: The most digits of an amount. A number has a smaller bound than the next power of ten.
_MAX_DIGITS: Final = 38
_MAX_NUMBER: Final = 10**_MAX_DIGITS
#: The float whose text is that number, and which is a little smaller.
_MAX_FLOAT: Final = 1e38
#: The most places that a result may be asked to have.
_MAX_PLACES: Final = 10
#: In characters: a longer text is no amount, and is not looked at.
_LONGEST: Final = 200

#: The regex of each thousands mark. Of spaces any: programs write U+00A0 and U+202F so that no line breaks there.
_THOUSANDS: Final = {",": ",", ".": r"\.", " ": r"\s", "'": "['\N{RIGHT SINGLE QUOTATION MARK}]"}
_MARKS: Final = (".", ",", ".,", ",.", ", ", ".'")
_CURRENCY: Final = r"(?:[€$£¥₹]|Fr\.|[A-Z]{3})"
_MINUS: Final = "-\N{MINUS SIGN}"


class Amount(NamedTuple):
    """The amount `units / 10**places`."""

    units: int
    places: int


@cache
def _regex(marks: str) -> re.Pattern[str]:
    """Return the regex of an amount. All six take 10 ms to compile, which a bridge without amounts need not spend."""
    point, thousands = re.escape(marks[0]), _THOUSANDS.get(marks[1:], "")
    whole = rf"[0-9]{{1,3}}(?:{thousands}[0-9]{{3}})++|[0-9]++" if thousands else "[0-9]++"
    # `*+` and `++` give nothing back: of six runs of spaces each would try each length.
    return re.compile(
        rf"\s*+([-+{_MINUS[1]}])?\s*+({_CURRENCY})?\s*+"
        rf"({whole})?(?:{point}([0-9]++))?"
        rf"\s*+({_CURRENCY})?\s*+([-+{_MINUS[1]}])?\s*+"
    )


def check_marks(marks: object) -> None:
    """Check the marks of amounts. Raises ValueError if they are none."""
    if type(marks) is not str or marks not in _MARKS:
        known = ", ".join(f'"{one}"' for one in _MARKS)
        raise ValueError(f"{quoted(marks)} are no marks: the decimal mark, then the thousands mark, are one of {known}")


def check_places(places: object) -> None:
    """Check the places of a result. Raises TypeError or ValueError."""
    if type(places) is str:
        raise TypeError("the number of places takes a whole number, not text; the marks are the argument behind it")
    if type(places) is not int:
        refuse("the number of places", "a whole number", places)
    if not 0 <= places <= _MAX_PLACES:
        raise ValueError(f"there are 0 to {_MAX_PLACES} places, not {quoted(places)}")


def read(name: str, value: Any, marks: str = ".") -> Amount:
    """Return the amount of a text with these marks, or of a number. Raises TypeError or ValueError."""
    kind = type(value)
    if kind is int:
        if not -_MAX_NUMBER < value < _MAX_NUMBER:
            raise ValueError(f"{quoted(value)} has more than {_MAX_DIGITS} digits")
        return Amount(value, 0)
    if kind is float:
        return of_float(value)
    if kind is not str:
        refuse(name, "text or a number", value)
    match = _regex(marks).fullmatch(value) if len(value) <= _LONGEST else None
    if match is None:
        _explain(value, marks)
    before, currency, whole, part, second, after = match.groups()
    if (whole is None and part is None) or (before and after) or (currency and second):
        _explain(value, marks)
    digits = "".join(filter(str.isdecimal, whole or ""))
    part = part or ""
    if len(digits) + len(part) > _MAX_DIGITS:
        raise ValueError(f"{quoted(value)} has more than {_MAX_DIGITS} digits")
    units = int(digits + part)
    return Amount(-units if (before or after or "+") in _MINUS else units, len(part))


def of_float(value: float) -> Amount:
    """Return the amount that the shortest text of the number spells: 19.99 is 19.99, and not 19.989999999999998."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is no amount")
    if not -_MAX_FLOAT < value < _MAX_FLOAT:
        raise ValueError(f"{value} has more than {_MAX_DIGITS} digits")
    mantissa, _, exponent = repr(value).partition("e")
    whole, _, part = mantissa.partition(".")
    places = len(part) - int(exponent or 0)
    units = int(whole + part)
    return Amount(units, places) if places >= 0 else Amount(units * 10**-places, 0)


def _explain(text: str, marks: str) -> NoReturn:
    """Raise the error of a text that is no amount, with the reason as far as there is a plain one."""
    short = text[:_LONGEST]
    point, space = marks[0], rf"[0-9]{_THOUSANDS.get(marks[1:], ' ')}[0-9]"
    other = next((char for char in ".,'\N{RIGHT SINGLE QUOTATION MARK}" if char in short and char not in marks), "")
    reasons = {
        "it has no digits": not re.search("[0-9]", short),
        "parentheses are no sign: a minus stands before or after the digits": "(" in short,
        "an exponent is not read": re.search("[0-9][eE][-+]?[0-9]", short),
        f'{quoted(other)} is no mark of "{marks}", and no mark is guessed': other and "Fr." not in short,
        "it has more than one sign": sum(map(short.count, f"+{_MINUS}")) > 1,
        f"it has more than one decimal mark {point!r}": short.count(point) > 1,
        f"no digit follows the decimal mark {point!r}": short.rstrip().endswith(point),
        "its thousands marks do not part the digits by three": marks[1:] and re.search(space, short),
        "a space parts its digits": re.search(r"[0-9]\s[0-9]", short),
        "a currency is one of € $ £ ¥ ₹ Fr. or three capitals": re.search("[^0-9]{4}", short.strip()),
        "around the digits stand one sign and one currency only": True,
    }
    why = next(reason for reason, holds in reasons.items() if holds)
    raise ValueError(f'{quoted(text)} is no amount with the marks "{marks}": {why}')


def _checked(name: str, value: object, more: tuple[Any, ...]) -> tuple[Amount, int | None]:
    """Return the amount, and the number of places that it shall have, if one is given."""
    if not more:
        return read(name, value), None
    check_places(more[0])
    for marks in more[1:]:
        check_marks(marks)
    return read(name, value, *more[1:]), more[0]


def decimal(value: object, *more: Any) -> str:
    """`decimal(x)`, `decimal(x, places)`, `decimal(x, places, marks)`: an exact amount as text; halves round away from 0."""
    (units, places), wanted = _checked("decimal()", value, more)
    size = abs(units)
    if wanted is not None:
        if wanted >= places:
            size *= 10 ** (wanted - places)
        else:
            part: int = 10 ** (places - wanted)
            size = (2 * size + part) // (2 * part)
        places = wanted
    digits = str(size).rjust(places + 1, "0")
    sign = "-" if units < 0 < size else ""
    return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else sign + digits


def cents(value: object, *more: Any) -> int:
    """`cents(x)`, `cents(x, places)`, `cents(x, places, marks)`: an amount as a whole number, which is never rounded."""
    (units, places), given = _checked("cents()", value, more)
    wanted = 2 if given is None else given
    factor: int = 10 ** abs(wanted - places)
    if wanted >= places:
        return units * factor
    whole, rest = divmod(units, factor)
    if rest:
        shown = quoted(value.strip())[1:-1] if type(value) is str else quoted(value)
        decimals = "1 decimal" if wanted == 1 else f"{wanted} decimals"
        rounded = "cents(decimal(x, 2))" if wanted == 2 else f"cents(decimal(x, {wanted}), {wanted})"
        raise ValueError(f"{shown} has more than {decimals}; {rounded} rounds it")
    return whole
