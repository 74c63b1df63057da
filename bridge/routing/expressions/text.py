"""The functions that make text, within its bound, and take it apart; and the fields of an f-string."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from itertools import chain
from typing import Any, Final

import msgspec

from bridge.config.wording import describe, quoted
from bridge.model.json_limits import MAX_DIGITS
from bridge.routing.expressions.values import MAX_TEXT, NUMBERS, bounded, no_json, refuse, too_long

_encode: Final = msgspec.json.Encoder(enc_hook=no_json).encode
#: The most characters that `strip` takes off: each of the text is looked for among them.
_MAX_STRIPPED: Final = 100
#: The widest field, and the most precise, that an f-string may ask for.
_MAX_WIDTH: Final = 100
#: To look into a list or a mapping takes about 0.2 us: these take 8 ms.
_MAX_CONTAINERS: Final = 40_000
#: Python itself refuses these (turning them into text is quadratic), unless the environment lifts its bound.
_TOO_MANY_DIGITS: Final = 10**MAX_DIGITS
#: The largest float that is finite.
_BIGGEST: Final = sys.float_info.max
#: Of so many items `_measure` looks first whether they are all alike.
_MANY: Final = 64
#: Whole numbers between these have few digits.
_LOW, _HIGH = -(2**31), 2**31
_SPEC: Final = re.compile(r"(?:.?[<>=^])?[-+ ]?z?#?0?([0-9]*)[_,]?(?:\.([0-9]+))?[bdeEfFgGosxX%]?", re.DOTALL)
CONSTANT_SPEC: Final = "the format of an f-string's field is a constant such as '>10' or '.2f'"


def _check_digits(name: str, value: int) -> None:
    if abs(value) >= _TOO_MANY_DIGITS:
        raise ValueError(f"{name}: a number has more than {MAX_DIGITS} digits")


def _are_small(items: Any) -> bool:
    """Whether all of many items are small whole numbers, finite floats, true, false, null or empty: `_measure` looks at none."""
    kinds = set(map(type, items))
    if kinds <= {bool, type(None)} or not any(items):
        return True
    if kinds == {int}:
        return bool(min(items) > _LOW and max(items) < _HIGH)
    return kinds == {float} and all(map(math.isfinite, items))


def _measure(name: str, value: object) -> None:  # noqa: C901, PLR0912 - one loop: a call for each item would double its time
    """Refuse a structure whose text form would be too long, before that form is built.

    A list or a mapping that is written out may hold the same large value many times, so the text can be far larger than
    the payload. The count is a lower bound: the built text is at most about ten times longer, and is measured again.
    """
    size = 0
    stack: list[Any] = [[value]]
    walked = 0
    while stack:
        container = stack.pop()
        walked += 1
        if type(container) is dict:
            size += 4 * len(container)
            items: Any = chain(container, container.values())
        else:
            size += 2 * len(container)
            items = container
        if size > MAX_TEXT:
            too_long(name)
        if walked + len(stack) > _MAX_CONTAINERS:
            raise ValueError(f"{name}: more than {_MAX_CONTAINERS:,} lists and mappings")
        if len(container) > _MANY and items is container and _are_small(items):
            continue
        # Only counted containers are walked. 130,000 numbers fit into a body: the usual ones take the fewest steps.
        for item in items:
            kind = type(item)
            if kind is int and _LOW < item < _HIGH:
                size += 1
            elif kind is float:
                if not -_BIGGEST <= item <= _BIGGEST:
                    raise ValueError(f"{name}: a number is not finite")
                size += 1
            elif kind is str or kind is bytes:
                size += len(item) + 2
            elif kind is list or kind is dict:
                if item:
                    stack.append(item)
            elif kind is int:
                _check_digits(name, item)
                size += item.bit_length() // 4 + 1
            else:
                size += 1
    if size > MAX_TEXT:
        too_long(name)


def text_of(value: Any) -> str:
    """`str(x)`, and the text of a field of an f-string: a text is itself, and anything else its JSON."""
    kind = type(value)
    if kind is str:
        return bounded("str()", value)
    if kind is int:
        _check_digits("str()", value)
        return str(value)
    if kind is float and math.isfinite(value):
        return _encode(value).decode()
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is bytes:
        refuse("str()", "no bytes (base64() turns them into text)", value)
    return _json("str()", value)


def key_text(value: Any) -> str:
    """The text of a key, the same of equal numbers: that of 1.0 is "1"."""
    return text_of(int(value) if type(value) is float and value.is_integer() else value)


def changed(name: str, change: Callable[[str], str]) -> Callable[[object], str]:
    """`lower`, `upper`: one text from another."""

    def change_text(text: object) -> str:
        if type(text) is not str:
            refuse(name, "text", text)
        # Changing case can treble the length ("ΐ" is three letters in upper case): both ends are measured.
        return bounded(name, change(bounded(name, text)))

    return change_text


def strip(text: object, *chars: object) -> str:
    """`strip(text)` of white space, `strip(text, chars)` of these characters and no other, at both ends."""
    if type(text) is not str:
        refuse("strip()", "text", text)
    for each in chars:
        if type(each) is not str:
            refuse("strip()", "text as second argument", each)
        if len(each) > _MAX_STRIPPED:
            raise ValueError(f"strip() takes off at most {_MAX_STRIPPED} characters")
    return bounded("strip()", text).strip(*chars)  # type: ignore[arg-type]


def replace(text: object, old: object, new: object) -> str:
    """`replace(text, old, new)`: every occurrence, character by character."""
    for each in (text, old, new):
        if type(each) is not str:
            refuse("replace()", "three texts", each)
        bounded("replace()", each)
    if not old:
        raise ValueError("replace(): the text to replace is empty")
    text, old, new = str(text), str(old), str(new)
    growth = len(new) - len(old)
    # The result is measured before it is made, and counted only where it could be too long.
    if len(text) + growth * (len(text) // len(old)) > MAX_TEXT and len(text) + growth * text.count(old) > MAX_TEXT:
        too_long("replace()")
    return text.replace(old, new)


def tested(name: str, test: Callable[[str, str], bool]) -> Callable[[object, object], bool]:
    """`starts_with`, `ends_with`: true or false of two texts."""

    def test_texts(text: object, part: object) -> bool:
        if type(text) is not str or type(part) is not str:
            refuse(name, "two texts", text if type(text) is not str else part)
        return test(text, part)

    return test_texts


def split(text: object, *separators: Any) -> list[str]:
    """`split(text)` at runs of white space, `split(text, separator)`."""
    if type(text) is not str:
        refuse("split()", "text", text)
    for separator in separators:
        if type(separator) is not str:
            refuse("split()", "text as separator", separator)
        if not separator:
            raise ValueError("split(): the separator is empty")
    return text.split(*separators)


def join(separator: object, items: object) -> str:
    """`join(separator, items)`."""
    if type(separator) is not str:
        refuse("join()", "text as separator", separator)
    if type(items) is not list:
        refuse("join()", "a list as second argument", items)
    if not {str}.issuperset(map(type, items)):
        refuse("join()", "a list of texts", next(item for item in items if type(item) is not str))
    if sum(map(len, items)) + len(separator) * max(0, len(items) - 1) > MAX_TEXT:
        too_long("join()")
    return separator.join(items)


def json_of(value: object) -> str:
    """`to_json(x)`."""
    return _json("to_json()", value)


def _json(name: str, value: object) -> str:
    _measure(name, value)
    return bounded(name, _encode(value).decode())


def bounded_fstring(text: str) -> str:
    """Return a built f-string. Raises ValueError if it is too long."""
    return bounded("f-string", text)


def concat(*parts: object) -> str:
    """Build an f-string. Each field is bounded, and so is their sum before the text is built."""
    texts = []
    size = 0
    for part in parts:
        text = part if type(part) is str else text_of(part)
        size += len(text)
        if size > MAX_TEXT:
            too_long("f-string")
        texts.append(text)
    return "".join(texts)


def check_spec(spec: str | None) -> None:
    """Check the format of an f-string's field; None means a format that is not constant. Raises ValueError."""
    match = None if spec is None else _SPEC.fullmatch(spec)
    if match is None:
        raise ValueError(CONSTANT_SPEC)
    # The count of digits first: int() of thousands of them is an error of its own.
    if any(len(digits) > len(str(_MAX_WIDTH)) or int(digits) > _MAX_WIDTH for digits in match.groups() if digits):
        raise ValueError(f"a field of an f-string is at most {_MAX_WIDTH} wide")


def formatted(value: Any, spec: str) -> str:
    """Format one field of an f-string; `check_spec` has bounded width and precision in `spec`."""
    kind = type(value)
    if kind not in NUMBERS and kind is not str and kind is not bool:
        raise TypeError(f"{describe(value)} can't be formatted with {quoted(spec)}")
    if kind is str:
        bounded("f-string", value)
    elif kind is bool:
        value = "true" if value else "false"
    try:
        if kind is int and spec[-1] not in "boxX":  # those take linear time
            _check_digits("f-string", value)
        return format(value, spec)
    except (ValueError, OverflowError):
        raise ValueError(f"{quoted(value)} can't be formatted with {quoted(spec)}") from None
