"""Times that are read: the reader of a format, which is compiled when the configuration is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Final, NamedTuple

from bridge.config.wording import quoted
from bridge.routing.expressions.time_formats import DAYS, DIGITS, NUMBER_OF, REGEXES, tokens

#: The seconds and the name of the day may be missing, and a comment may follow; of the obsolete zones only GMT's names.
_RFC2822: Final = (
    rf"\s*+(?:({REGEXES['a']}),\s*+)?([0-9]{{1,2}})\s++({REGEXES['b']})\s++([0-9]{{4}})\s++([0-9]{{2}}):([0-9]{{2}})"
    r"(?::([0-9]{2}))?\s*+([-+][0-9]{4}(?:[0-9]{2})?|GMT|UTC?)?\s*+(?:\([^()]*+\))?\s*+"
)
#: Pairs of codes that say the same: a format has one of them only.
_SAME: Final = ("Yy", "bB", "bm", "Bm", "HI", "aA", "jm", "jd", "jb", "jB")
#: In characters: a longer text is no time.
_LONGEST: Final = 5000

#: Reads a text, and returns a time that has a zone if the text has one.
Reader = Callable[[str], datetime]
Groups = Sequence[str]
#: Reads one part of a time.
Part = Callable[[Groups], int]


class Format(NamedTuple):
    """A format that is read: `zone` is "always", "never" or "sometimes" in the text."""

    read: Reader
    zone: str


@lru_cache(maxsize=4096)
def reader(text: str) -> Format:
    """Compile a format that is read. Raises ValueError if no time can be read by it."""
    if text == "iso":
        return Format(_read_iso, "sometimes")
    if text == "rfc2822":
        return Format(_of_groups(re.compile(_RFC2822), ("a", "d", "b", "Y", "H", "M", "S", "z"), text), "sometimes")
    parts = tokens(text)
    codes = [code.strip(":") for code, _ in parts if code]
    _check(codes)
    regex = ""
    for index, (code, literal) in enumerate(parts):
        if code in DIGITS:
            # Where two numbers touch, each has all its digits: "2026111" is not read as one of two days.
            around = [other for other, _ in (*parts[max(0, index - 1) : index], *parts[index + 1 : index + 2])]
            touches = any(other in DIGITS or other == "f" for other in around)
            least = DIGITS[code] if touches or code in "Yy" else 1
            regex += f"([0-9]{{{least},{DIGITS[code]}}})"
        else:
            regex += f"({REGEXES[code]})" if code else re.escape(literal)
    read = _of_groups(re.compile(regex), codes, text)
    if text == "http":
        return Format(lambda value: read(value).replace(tzinfo=UTC), "always")
    return Format(read, "always" if "z" in codes else "never")


def _check(codes: list[str]) -> None:
    for code in codes:
        if codes.count(code) > 1:
            raise ValueError(f"%{code} stands twice in the format")
    for one, other in _SAME:
        if one in codes and other in codes:
            raise ValueError(f"%{one} and %{other} say the same: the format can't have both")
    if "Y" not in codes and "y" not in codes:
        raise ValueError("the format has no year (%Y): no time can be read by it")
    if ("I" in codes) != ("p" in codes):
        raise ValueError("%I, an hour up to 12, needs %p beside it, and %p needs %I")


def _number(index: int) -> Part:
    return lambda groups: int(groups[index] or 0)


def _name(index: int) -> Part:
    return lambda groups: NUMBER_OF[groups[index].lower()]


def _short_year(index: int) -> Part:
    def year(groups: Groups) -> int:
        digits = int(groups[index])
        return digits + (1900 if digits >= 69 else 2000)

    return year


def _short_hour(index: int, half: int) -> Part:
    def hour(groups: Groups) -> int:
        digits = int(groups[index])
        if not 1 <= digits <= 12:
            raise ValueError
        return digits % 12 + 12 * (groups[half].lower() == "pm")

    return hour


def _fraction(index: int) -> Part:
    return lambda groups: int(groups[index][:6].ljust(6, "0"))


def _parts(at: Mapping[str, int]) -> list[Part]:
    """Return the functions that read year, month, day, hour, minute, second and microsecond, as far as there are any."""

    def first(codes: str, make: Callable[[int], Part]) -> Part | None:
        return next((make(at[code]) for code in codes if code in at), None)

    found = [
        first("Y", _number) or first("y", _short_year),
        first("m", _number) or first("bB", _name),
        first("d", _number),
        first("H", _number) or first("I", lambda index: _short_hour(index, at["p"])),
        first("M", _number),
        first("S", _number),
        first("f", _fraction),
    ]
    while len(found) > 3 and found[-1] is None:  # datetime() wants year, month and day
        del found[-1]
    return [part or (_midnight if index > 2 else _first) for index, part in enumerate(found)]


def _first(_: Groups) -> int:
    return 1


def _midnight(_: Groups) -> int:
    return 0


def _of_groups(regex: re.Pattern[str], codes: Sequence[str], text: str) -> Reader:
    """Return the reader of a regex whose groups are the values of `codes`; a group may be missing."""
    at = {code: index for index, code in enumerate(codes)}
    parts, zone, day_of_year = _parts(at), at.get("z"), at.get("j")
    day_name = at.get("a", at.get("A"))

    def made(groups: Groups) -> datetime:
        moment = datetime(*[part(groups) for part in parts])  # type: ignore[arg-type]  # noqa: DTZ001 - the zone follows
        if day_of_year is not None:
            first = moment
            moment += timedelta(days=int(groups[day_of_year]) - 1)
            if moment.year != first.year:
                raise ValueError
        return moment if zone is None or not groups[zone] else moment.replace(tzinfo=_offset(groups[zone]))

    def read(value: str) -> datetime:
        match = regex.fullmatch(value) if len(value) <= _LONGEST else None
        if match is None:
            raise ValueError(f"{quoted(value)} does not fit the format {quoted(text)}")
        groups = match.groups()
        try:
            moment = made(groups)
        except (ValueError, OverflowError):
            raise ValueError(f"{quoted(value)}: there is no such time") from None
        if day_name is not None and groups[day_name]:
            number = NUMBER_OF[groups[day_name].lower()]
            if number != moment.isoweekday():
                raise ValueError(f"{quoted(value)}: {moment:%Y-%m-%d} is no {DAYS[number - 1]}")
        return moment

    return read


def _read_iso(value: str) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{quoted(value)} is not a time in ISO 8601") from None


@lru_cache(maxsize=256)
def _offset(text: str) -> tzinfo:
    if text[0] not in "+-":
        return UTC
    digits = text[1:].replace(":", "").ljust(6, "0")
    hours, minutes, seconds = int(digits[:2]), int(digits[2:4]), int(digits[4:])
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ValueError
    offset = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return timezone(-offset if text[0] == "-" else offset)
