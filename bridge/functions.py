"""What a rewritten expression calls: bounded arithmetic, bounded text, and the language's functions.

Everything here takes values that a stranger may have sent. So each function checks its types in words that a
user understands, and what could grow faster than its input is bounded before it is built.
"""

from __future__ import annotations

import math
import operator
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, NamedTuple, NoReturn

import msgspec
import re2

#: The longest text, in characters, that an expression makes.
MAX_TEXT: Final = 2**20
#: The largest whole number, either way, that arithmetic takes and gives.
MAX_INT: Final = 2**256
#: Python's own bound on the digits of a whole number in text, kept even where the environment lifts it.
MAX_DIGITS: Final = 4300
MAX_ROUND_DIGITS: Final = 400
#: The largest compiled regex, and the most steps (size x bytes of text) that one search may need: where RE2's
#: automaton does not fit its cache it walks the whole program for each byte, at about 10 ns a step.
MAX_REGEX_SIZE: Final = 4096
MAX_REGEX_STEPS: Final = 5_600_000
MAX_QUOTE: Final = 80
MAX_TIMESTAMP: Final = 64

#: Between these, numbers need no closer look.
_SMALL: Final = 2**53
_NUMBERS: Final = frozenset({int, float})
_TEXTS: Final = frozenset({str})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_KINDS: Final = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a mapping",
    bytes: "bytes",
}


def kind(value: object) -> str:
    """Return the plain word for a value's type: "a text", "a list", "null" ..."""
    return _KINDS.get(type(value)) or type(value).__name__


def quote(value: object) -> str:
    """Return `value` as an error may show it: at most `MAX_QUOTE` characters of it, on one line."""
    if type(value) is str:
        text = repr(value[:MAX_QUOTE])
    elif type(value) in _NUMBERS or value is None or type(value) is bool:
        text = "a huge number" if type(value) is int and abs(value) > MAX_INT else repr(value)
    else:
        return kind(value)
    return text if len(text) <= MAX_QUOTE else text[: MAX_QUOTE - 1] + "…"


def _refuse(name: str, takes: str, value: object) -> NoReturn:
    message = f"{name} takes {takes}, not {kind(value)}"
    raise TypeError(message)


def _number(name: str, value: object) -> None:
    if type(value) is int:
        if not -MAX_INT <= value <= MAX_INT:
            message = f"{name}: a number is larger than 2**256"
            raise ValueError(message)
    elif type(value) is not float:
        _refuse(name, "numbers", value)
    elif not math.isfinite(value):
        message = f"{name}: a number is not finite"
        raise ValueError(message)


def _arithmetic(sign: str, compute: Callable[[Any, Any], Any]) -> Callable[[object, object], object]:
    name = f"'{sign}'"
    low, high = -_SMALL, _SMALL
    float_low, float_high = float(-_SMALL), float(_SMALL)

    def arithmetic(left: Any, right: Any) -> object:
        # The common case, a few comparisons between like types: 200 ns rather than 430.
        small = (low < left < high) if type(left) is int else (type(left) is float and float_low < left < float_high)
        if small and (
            (low < right < high) if type(right) is int else (type(right) is float and float_low < right < float_high)
        ):
            result = compute(left, right)
            if (low < result < high) if type(result) is int else (float_low < result < float_high):
                return result
        _number(name, left)
        _number(name, right)
        result = compute(left, right)
        _number(name, result)
        return result

    return arithmetic


def _power(base: Any, exponent: Any) -> Any:
    # The size of the result is known from the bits alone; 2 ** (2**256) must never be begun.
    if type(base) is int and type(exponent) is int and exponent > 1 and abs(base) > 1:
        bits = (abs(base).bit_length() - 1) * exponent
        if bits > MAX_INT.bit_length():
            message = "'**': a number is larger than 2**256"
            raise ValueError(message)
    result = base**exponent
    if type(result) is complex:
        message = "'**': a fractional power of a negative number"
        raise ValueError(message)
    return result


def _sign(sign: str, compute: Callable[[Any], Any]) -> Callable[[object], object]:
    name = f"'{sign}'"

    def signed(value: object) -> object:
        _number(name, value)
        return compute(value)

    return signed


def _too_long(name: str) -> NoReturn:
    message = f"{name}: the text would be longer than {MAX_TEXT} characters"
    raise ValueError(message)


def _measure(name: str, value: object, *, json: bool = False) -> None:
    """Refuse a structure whose text form would be too long, before that form is built.

    A display may hold the same large value many times, so the text can be far larger than the payload. The count
    is a lower bound: the built text is at most about ten times longer, and is measured again.
    """
    size = 0
    stack = [value]
    while stack:
        item = stack.pop()
        what = type(item)
        if what is str or what is bytes:
            size += len(item) + 2  # type: ignore[arg-type]
        elif what is list:
            size += 2 * len(item)  # type: ignore[arg-type]
        elif what is dict:
            size += 4 * len(item)  # type: ignore[arg-type]
        elif what is int:
            size += item.bit_length() // 4 + 1  # type: ignore[attr-defined]
        elif json and what is float and not math.isfinite(item):  # type: ignore[arg-type]
            message = f"{name}: a number is not finite"
            raise ValueError(message)
        else:
            size += 1
        if size > MAX_TEXT:
            _too_long(name)
        if what is list:
            stack.extend(item)  # type: ignore[arg-type]
        elif what is dict:
            stack.extend(item)  # type: ignore[arg-type]
            stack.extend(item.values())  # type: ignore[attr-defined]


def _short(name: str, text: str) -> str:
    if len(text) > MAX_TEXT:
        _too_long(name)
    return text


def text_of(value: object) -> str:
    """Return `str(value)`, bounded: what `str()` and a field of an f-string give."""
    what = type(value)
    if what is str:
        return _short("str()", value)  # type: ignore[arg-type]
    if what is bytes:
        _refuse("str()", "no bytes (base64() turns them into a text)", value)
    if what is int and value.bit_length() > MAX_DIGITS * 10 // 3:  # type: ignore[attr-defined]
        message = f"str(): a number has more than {MAX_DIGITS} digits"
        raise ValueError(message)
    if what is list or what is dict:
        _measure("str()", value)
    try:
        return _short("str()", str(value))
    except ValueError:
        if what is not int:
            raise
        message = f"str(): a number has more than {MAX_DIGITS} digits"
        raise ValueError(message) from None


def _concat(*parts: object) -> str:
    """Build an f-string. Each field is bounded, and so is the sum, before the whole is built."""
    texts = []
    size = 0
    for part in parts:
        text = part if type(part) is str else text_of(part)
        size += len(text)
        if size > MAX_TEXT:
            _too_long("f-string")
        texts.append(text)
    return "".join(texts)


def _format(value: object, spec: str) -> str:
    """Format one field of an f-string; the compiler has bounded width and precision in `spec`."""
    what = type(value)
    if what not in _NUMBERS and what is not str and what is not bool:
        message = f"{kind(value)} can't be formatted with {quote(spec)}"
        raise TypeError(message)
    if what is str:
        _short("f-string", value)  # type: ignore[arg-type]
    try:
        return format(value, spec)
    except (ValueError, OverflowError):
        message = f"{quote(value)} can't be formatted with {quote(spec)}"
        raise ValueError(message) from None


def _key(value: object) -> str:
    if type(value) is not str:
        message = f"a key of a mapping is a text, not {kind(value)}"
        raise TypeError(message)
    return value


def learn_message(function: Callable[..., object], *args: object) -> str:
    """Return the text of the TypeError that this Python raises for the call, "" where it raises none."""
    try:
        function(*args)
    except TypeError as error:
        return str(error)
    except LookupError:
        pass
    return ""


#: What this Python says where null is asked for a field; learned, since it differs between versions.
NULL_MESSAGE: Final = learn_message(operator.getitem, None, "")


def is_missing(error: BaseException) -> bool:
    """Say whether `error` means a missing field or element, or a null on the way to one."""
    return isinstance(error, LookupError) or (type(error) is TypeError and error.args == (NULL_MESSAGE,))


def _pick(base: Any, fallback: object, *keys: str | int) -> object:
    """`default()` of a path whose keys are known: no closure, and for mappings no exception."""
    for key in keys:
        if type(base) is dict:
            base = base.get(key)
        elif base is None:
            return fallback
        else:
            try:
                base = base[key]
            except LookupError:
                return fallback
    return fallback if base is None else base


def _present(base: Any, *keys: str | int) -> bool:
    """`has()` of a path whose keys are known."""
    for key in keys:
        if base is None or (type(base) is dict and key not in base):
            return False
        try:
            base = base[key]
        except LookupError:
            return False
    return True


def _default(value: Callable[[], object], fallback: Callable[[], object]) -> object:
    try:
        found = value()
    except (LookupError, TypeError) as error:
        if not is_missing(error):
            raise
        found = None
    return fallback() if found is None else found


def _has(value: Callable[[], object]) -> bool:
    try:
        value()
    except (LookupError, TypeError) as error:
        if not is_missing(error):
            raise
        return False
    return True


def _len(value: object) -> int:
    if type(value) not in (str, list, dict, bytes):
        _refuse("len()", "a text, a list or a mapping", value)
    return len(value)  # type: ignore[arg-type]


def _int(value: object) -> int:
    what = type(value)
    if what is str:
        digits = value.strip()  # type: ignore[attr-defined]
        if len(digits) <= MAX_DIGITS + 1 and "_" not in digits:
            try:
                return int(digits)
            except ValueError:
                pass
        message = f"{quote(value)} is not a whole number"
        raise ValueError(message)
    if what not in _NUMBERS and what is not bool:
        _refuse("int()", "a text or a number", value)
    if what is float and not math.isfinite(value):  # type: ignore[arg-type]
        message = f"{quote(value)} is not a whole number"
        raise ValueError(message)
    return int(value)  # type: ignore[call-overload,no-any-return]


def _float(value: object) -> float:
    what = type(value)
    if what is not str and what not in _NUMBERS and what is not bool:
        _refuse("float()", "a text or a number", value)
    if what is not str or "_" not in value:  # type: ignore[operator]
        try:
            result = float(value)  # type: ignore[arg-type]
        except (ValueError, OverflowError):
            result = math.nan
        if math.isfinite(result):
            return result
    message = f"{quote(value)} is not a finite number"
    raise ValueError(message)


def _round(value: Any, *digits: object) -> object:
    if type(value) not in _NUMBERS:
        _refuse("round()", "a number", value)
    for count in digits:
        if type(count) is not int:
            _refuse("round()", "a whole number of digits", count)
        # round(5, -10**9) would compute 10**(10**9).
        if abs(count) > MAX_ROUND_DIGITS:
            message = f"round() takes at most {MAX_ROUND_DIGITS} digits"
            raise ValueError(message)
    if type(value) is float and not math.isfinite(value):
        message = f"round() takes a finite number, not {value}"
        raise ValueError(message)
    return round(value, *digits)  # type: ignore[call-overload]


def _abs(value: Any) -> object:
    if type(value) not in _NUMBERS:
        _refuse("abs()", "a number", value)
    return abs(value)


def _choice(name: str, choose: Callable[[Sequence[Any]], Any]) -> Callable[..., object]:
    def choice(*values: Any) -> object:
        items: Sequence[Any] = values
        if len(values) == 1:
            items = values[0]
            if type(items) is not list:
                _refuse(f"{name}()", "a list, or two or more values", items)
        if not items:
            message = f"{name}() of an empty list"
            raise ValueError(message)
        kinds = set(map(type, items))
        if not (kinds <= _NUMBERS or kinds == _TEXTS):
            wrong = next((item for item in items if type(item) not in _NUMBERS and type(item) is not str), None)
            what = "a mix of both" if kinds <= _NUMBERS | _TEXTS else kind(wrong)
            message = f"{name}() takes numbers only or texts only, not {what}"
            raise TypeError(message)
        return choose(items)

    return choice


def _of_text(name: str, change: Callable[[str], str]) -> Callable[[object], str]:
    def changed(text: object) -> str:
        if type(text) is not str:
            _refuse(name, "a text", text)
        # Changing case can treble the length ("ΐ" is three letters in upper case): both ends are measured.
        return _short(name, change(_short(name, text)))

    return changed


def _split(text: object, *separators: Any) -> list[str]:
    if type(text) is not str:
        _refuse("split()", "a text", text)
    for separator in separators:
        if type(separator) is not str:
            _refuse("split()", "a text as separator", separator)
        if not separator:
            message = "split(): the separator is empty"
            raise ValueError(message)
    return text.split(*separators)


def _join(separator: object, items: object) -> str:
    if type(separator) is not str:
        _refuse("join()", "a text as separator", separator)
    if type(items) is not list:
        _refuse("join()", "a list as second argument", items)
    if not _TEXTS.issuperset(map(type, items)):
        _refuse("join()", "a list of texts", next(item for item in items if type(item) is not str))
    if sum(map(len, items)) + len(separator) * max(0, len(items) - 1) > MAX_TEXT:
        _too_long("join()")
    return separator.join(items)


def _edge(name: str, test: Callable[[str, str], bool]) -> Callable[[object, object], bool]:
    def tested(text: object, part: object) -> bool:
        if type(text) is not str or type(part) is not str:
            _refuse(name, "two texts", text if type(text) is not str else part)
        return test(text, part)

    return tested


class Regex(NamedTuple):
    """A compiled regex, and the most bytes of text it is tried on."""

    search: Callable[[bytes], object]
    max_bytes: int


@lru_cache(maxsize=4096)
def compile_regex(pattern: str) -> Regex:
    """Compile a linear-time regex. Raises ValueError with the reason where it is wrong or too large."""
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True  # Only the yes or no is asked for; groups would cost a second pass.
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        raise ValueError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from None
    size: int = max(compiled.programsize, compiled.reverseprogramsize, 1)
    if size > MAX_REGEX_SIZE:
        message = "it is too large: use fewer or smaller repetitions"
        raise ValueError(message)
    return Regex(compiled.search, MAX_REGEX_STEPS // size)


def _matches(text: object, pattern: str) -> bool:
    if type(text) is not str:
        _refuse("matches()", "a text", text)
    regex = compile_regex(pattern)
    data = text.encode()
    if len(data) > regex.max_bytes:
        message = f"matches(): the text is longer than the {regex.max_bytes} bytes that this regex is tried on"
        raise ValueError(message)
    return regex.search(data) is not None


def _now() -> int:
    return time.time_ns() // 1_000_000


def _timestamp(text: object) -> int:
    if type(text) is not str:
        _refuse("timestamp()", "a text", text)
    try:
        moment = datetime.fromisoformat(text if len(text) <= MAX_TIMESTAMP else "")
    except ValueError:
        message = f"{quote(text)} is not a time in ISO 8601"
        raise ValueError(message) from None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MILLISECOND


def _json(value: object) -> object:
    if type(value) is not str and type(value) is not bytes:
        _refuse("json()", "a text", value)
    try:
        return msgspec.json.decode(value)
    except msgspec.MsgspecError as error:
        message = f"json(): {error}"
        raise ValueError(message) from None


def _to_json(value: object) -> str:
    _measure("to_json()", value, json=True)
    return _short("to_json()", msgspec.json.encode(value).decode())


def _bytes(name: str, value: object) -> bytes:
    if type(value) is bytes:
        return value
    if type(value) is not str:
        _refuse(name, "a text or bytes", value)
    return value.encode()


def _base64(value: object) -> str:
    data = _bytes("base64()", value)
    if len(data) > MAX_TEXT // 4 * 3:
        _too_long("base64()")
    return b64encode(data).decode()


def _sha256(value: object) -> str:
    return sha256(_bytes("sha256()", value)).hexdigest()


class Function(NamedTuple):
    """A function of the language, and how many arguments it takes; `most` is None where any number is."""

    call: Callable[..., object]
    least: int
    most: int | None


#: What an expression may call. `default` and `has` get their first argument unevaluated.
FUNCTIONS: Final[dict[str, Function]] = {
    "default": Function(_default, 2, 2),
    "has": Function(_has, 1, 1),
    "len": Function(_len, 1, 1),
    "int": Function(_int, 1, 1),
    "float": Function(_float, 1, 1),
    "str": Function(text_of, 1, 1),
    "bool": Function(bool, 1, 1),
    "round": Function(_round, 1, 2),
    "abs": Function(_abs, 1, 1),
    "min": Function(_choice("min", min), 1, None),
    "max": Function(_choice("max", max), 1, None),
    "lower": Function(_of_text("lower()", str.lower), 1, 1),
    "upper": Function(_of_text("upper()", str.upper), 1, 1),
    "strip": Function(_of_text("strip()", str.strip), 1, 1),
    "split": Function(_split, 1, 2),
    "join": Function(_join, 2, 2),
    "starts_with": Function(_edge("starts_with()", str.startswith), 2, 2),
    "ends_with": Function(_edge("ends_with()", str.endswith), 2, 2),
    "matches": Function(_matches, 2, 2),
    "now": Function(_now, 0, 0),
    "timestamp": Function(_timestamp, 1, 1),
    "json": Function(_json, 1, 1),
    "to_json": Function(_to_json, 1, 1),
    "base64": Function(_base64, 1, 1),
    "sha256": Function(_sha256, 1, 1),
}

#: The globals that rewritten code needs; nothing else is reachable from it.
RUNTIME: Final[dict[str, object]] = {
    "__builtins__": {},
    **{f"_{name}": function.call for name, function in FUNCTIONS.items()},
    "_add": _arithmetic("+", operator.add),
    "_sub": _arithmetic("-", operator.sub),
    "_mul": _arithmetic("*", operator.mul),
    "_div": _arithmetic("/", operator.truediv),
    "_floordiv": _arithmetic("//", operator.floordiv),
    "_mod": _arithmetic("%", operator.mod),
    "_pow": _arithmetic("**", _power),
    "_neg": _sign("-", operator.neg),
    "_pos": _sign("+", operator.pos),
    "_pick": _pick,
    "_present": _present,
    "_concat": _concat,
    "_format": _format,
    "_key": _key,
}
