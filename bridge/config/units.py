"""Settings with units: durations become milliseconds, sizes become bytes, shares become percent."""

from __future__ import annotations

import re
from typing import Final

from bridge.config.wording import describe
from bridge.errors import InvalidValue

#: The spelling of a duration, of a size and of a share, for JSON Schema as well.
DURATION: Final = r"[0-9]{1,12}(ms|s|m|h|d)"
SIZE: Final = r"[0-9]{1,12}(B|KiB|MiB|GiB)"
SHARE: Final = r"([1-9][0-9]?|100)%"

_DURATION = re.compile(DURATION, re.ASCII)
_SIZE = re.compile(SIZE, re.ASCII)
_SHARE = re.compile(SHARE, re.ASCII)
_MILLISECONDS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_BYTES: Final = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}

#: A century. More is a slip of the finger, and would exceed the range of an epoch in milliseconds.
MAX_MILLISECONDS: Final = 36_525 * 86_400_000
_NO_UNIT: Final = "a bare number has no unit"


def _text(value: object, expected: str) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise InvalidValue(f"takes {expected}", _NO_UNIT)
    if not isinstance(value, str):
        raise InvalidValue(f"takes {expected}, not {describe(value)}")
    return value


def _parsed(value: object, expected: str, pattern: re.Pattern[str], units: dict[str, int]) -> int:
    text = _text(value, expected)
    if not (match := pattern.fullmatch(text)):
        hint = _NO_UNIT if text.isdecimal() else f"a whole number and one of the units {', '.join(reversed(units))}"
        raise InvalidValue(f"takes {expected}", hint)
    unit = match[1]
    return int(text[: -len(unit)]) * units[unit]


def parse_duration(value: object) -> int:
    """Return the milliseconds of `250ms`, `30s`, `5m`, `2h` or `7d`.

    Raises InvalidValue, a ValueError.
    """
    milliseconds = _parsed(value, "a duration such as 30s, 5m", _DURATION, _MILLISECONDS)
    if milliseconds > MAX_MILLISECONDS:
        raise InvalidValue("takes a duration of at most 36525d, a century")
    return milliseconds


def parse_size(value: object) -> int:
    """Return the bytes of `512B`, `256KiB`, `16MiB` or `1GiB`.

    Raises InvalidValue, a ValueError.
    """
    return _parsed(value, "a size such as 256KiB, 16MiB", _SIZE, _BYTES)


def parse_share(value: object) -> int:
    """Return the percent of `80%`, from 1 to 100.

    Raises InvalidValue, a ValueError.
    """
    expected = "a share such as 80%"
    if not _SHARE.fullmatch(text := _text(value, expected)):
        raise InvalidValue(f"takes {expected}", "a whole number from 1 to 100, and %")
    return int(text[:-1])


def spell_duration(milliseconds: int) -> str:
    """Return the shortest exact spelling, such as `30s`."""
    if not milliseconds:
        return "0s"
    unit = next(unit for unit, size in _MILLISECONDS.items() if milliseconds % size == 0)
    return f"{milliseconds // _MILLISECONDS[unit]}{unit}"


def spell_size(size: int) -> str:
    """Return the shortest exact spelling, such as `256KiB`."""
    if not size:
        return "0B"
    unit = next(unit for unit, length in _BYTES.items() if size % length == 0)
    return f"{size // _BYTES[unit]}{unit}"
