"""Formats of times: compiled when the configuration is read, with English names whatever the locale is."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final

from bridge.config.wording import quoted

#: The formats with names that stand for codes.
NAMED: Final = {
    "iso": "%Y-%m-%dT%H:%M:%S.%f%:z",
    "rfc2822": "%a, %d %b %Y %H:%M:%S %z",
    "http": "%a, %d %b %Y %H:%M:%S GMT",
}
#: The formats that are a number, by the milliseconds of one: as a fraction.
EPOCHS: Final = {"s": (1000, 1), "ms": (1, 1), "us": (1, 1000), "ns": (1, 1_000_000)}
_MONTHS: Final = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
DAYS: Final = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_SHORT_MONTHS, _SHORT_DAYS = [name[:3] for name in _MONTHS], [name[:3] for name in DAYS]
_NAMES: Final = {"a": _SHORT_DAYS, "A": DAYS, "b": _SHORT_MONTHS, "B": _MONTHS}
NUMBER_OF: Final = {
    name.lower(): index for names in _NAMES.values() for index, name in enumerate(names, 1)
}  # "May" is both
#: The most digits of each code that is a number, and the regexes of the others.
DIGITS: Final = {"Y": 4, "y": 2, "m": 2, "d": 2, "H": 2, "I": 2, "M": 2, "S": 2, "j": 3}
_ZONE: Final = "[Zz]|[-+][0-9]{2}:?[0-9]{2}(?::?[0-9]{2})?"
REGEXES: Final = {
    "f": "[0-9]{1,9}",
    "p": "(?i:AM|PM)",
    "z": _ZONE,
    ":z": _ZONE,
    **{code: f"(?i:{'|'.join(names)})" for code, names in _NAMES.items()},
}
_PART: Final = "(?s)%(:z|.)|%|[^%]+"


_SHORT_FOR: Final = {"F": "%Y-%m-%d", "T": "%H:%M:%S"}
#: In characters: each code of a format costs up to 1 us.
_LONGEST: Final = 100


def tokens(text: str) -> list[tuple[str, str]]:
    """Return the parts of a format: ("", literal) and (code, ""). Raises ValueError if it is none."""
    if len(text) > _LONGEST:
        raise ValueError(f"a format of a time has at most {_LONGEST} characters")
    found: list[tuple[str, str]] = []
    for match in re.finditer(_PART, NAMED.get(text, text)):
        part, code = match[0], match[1]
        if part[0] != "%" or code == "%":
            found.append(("", code or part))
        elif code in _SHORT_FOR:
            found += tokens(_SHORT_FOR[code])
        elif code in DIGITS or code in REGEXES:
            found.append((code, ""))
        else:
            known = " ".join(f"%{one}" for one in (*DIGITS, *REGEXES, *_SHORT_FOR, "%"))
            raise ValueError(f"{quoted(part)} is no code of a time format; the codes are {known}")
    return found


def _written_offset(moment: datetime, colon: str) -> str:
    offset = moment.utcoffset() or timedelta()
    sign, seconds = ("-", -offset) if offset < timedelta() else ("+", offset)
    minutes, rest = divmod(seconds.seconds, 60)
    # Before about 1900 zones had seconds, as Berlin's +00:53:28.
    return f"{sign}{minutes // 60:02d}{colon}{minutes % 60:02d}{f'{colon}{rest:02d}' if rest else ''}"


_WRITERS: Final[dict[str, Callable[[datetime], str]]] = {
    "Y": lambda at: f"{at.year:04d}",
    "y": lambda at: f"{at.year % 100:02d}",
    "m": lambda at: f"{at.month:02d}",
    "d": lambda at: f"{at.day:02d}",
    "H": lambda at: f"{at.hour:02d}",
    "I": lambda at: f"{(at.hour - 1) % 12 + 1:02d}",
    "M": lambda at: f"{at.minute:02d}",
    "S": lambda at: f"{at.second:02d}",
    "f": lambda at: f"{at.microsecond // 1000:03d}",
    "j": lambda at: f"{at.toordinal() - date(at.year, 1, 1).toordinal() + 1:03d}",
    "b": lambda at: _SHORT_MONTHS[at.month - 1],
    "B": lambda at: _MONTHS[at.month - 1],
    "a": lambda at: _SHORT_DAYS[at.weekday()],
    "A": lambda at: DAYS[at.weekday()],
    "p": lambda at: "AM" if at.hour < 12 else "PM",
    "z": lambda at: _written_offset(at, ""),
    ":z": lambda at: _written_offset(at, ":"),
}


@lru_cache(maxsize=4096)
def writer(text: str) -> Callable[[datetime], str]:
    """Compile a format that is written. Raises ValueError if it has an unknown code."""
    parts: list[str | Callable[[datetime], str]] = [
        _WRITERS[code] if code else literal for code, literal in tokens(text)
    ]
    return lambda at: "".join([part if part.__class__ is str else part(at) for part in parts])  # type: ignore[operator]
