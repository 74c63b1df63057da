"""Times: the functions that read, write and move them. A time is a whole number of milliseconds since 1970."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final, NoReturn

from bridge.config.wording import describe, quoted
from bridge.routing.expressions.money import of_float
from bridge.routing.expressions.time_formats import EPOCHS, writer
from bridge.routing.expressions.time_reader import reader
from bridge.routing.expressions.values import bounded, refuse
from bridge.routing.expressions.zones import zone

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
#: The first and the last millisecond of the years 1 to 9999.
_FIRST, _LAST = -62_135_596_800_000, 253_402_300_799_999
_MAX_DAYS: Final = 366
_CLOCK: Final = "([01][0-9]|2[0-3]):([0-5][0-9])"
_NUMBER: Final = r"([-+]?[0-9]{1,38})(?:\.([0-9]{1,38}))?"


def _no_year() -> NoReturn:
    raise ValueError("a time is in the years 1 to 9999")


def now() -> int:
    """`now()`."""
    return time.time_ns() // 1_000_000


def _milliseconds(moment: datetime) -> int:
    """Return the milliseconds since 1970; of a time that a zone has twice the first, and none is moved on by the gap."""
    found = (moment - _EPOCH) // _MILLISECOND
    if not _FIRST <= found <= _LAST:
        _no_year()
    return found


def _local(name: str, at: Any, where: tzinfo) -> datetime:
    """Return the time `at` as the zone's clock shows it."""
    if type(at) is not int:
        found = "a fraction (int(x) cuts it)" if type(at) is float else describe(at)
        raise TypeError(f"{name} takes a whole number of milliseconds, not {found}")
    if not _FIRST <= at <= _LAST:
        _no_year()
    try:
        return (_EPOCH + timedelta(milliseconds=at)).astimezone(where)
    except OverflowError:
        _no_year()


def timestamp(value: Any, *more: str) -> int:
    """`timestamp(x)`, `timestamp(x, format)`, `timestamp(x, format, zone)`."""
    text = more[0] if more else "iso"
    if text in EPOCHS:
        return _of_epoch(value, *EPOCHS[text])
    if type(value) is not str:
        number = type(value) is int or type(value) is float
        refuse("timestamp()", 'text (a number with a format: timestamp(x, "s"))' if number else "text", value)
    moment = reader(text).read(bounded("timestamp()", value))
    if moment.tzinfo is None:
        if len(more) < 2:
            raise ValueError(_no_zone(text))
        moment = moment.replace(tzinfo=zone(more[1]))
    return _milliseconds(moment)


def _no_zone(text: str) -> str:
    return f'no zone: timestamp(x, "{text}", "Europe/Berlin")'


def _of_epoch(value: Any, factor: int, divisor: int) -> int:
    """Return the milliseconds of a number of other units, cut towards minus infinity."""
    kind = type(value)
    if kind is int:
        units, places = value, 0
    elif kind is float:
        # By its digits: 1795685400.123 * 1000 is 1795685400122.9999.
        units, places = of_float(value)
    elif kind is str:
        match = re.fullmatch(_NUMBER, value)
        if match is None:
            raise ValueError(f"{quoted(value)} is not a number")
        places = len(match[2] or "")
        units = int(match[1] + (match[2] or ""))
    else:
        refuse("timestamp()", "text or a number", value)
    found: int = units * factor // (divisor * 10**places)
    if not _FIRST <= found <= _LAST:
        _no_year()
    return found


def format_time(at: object, text: str, *zones: object) -> str:
    """`format_time(t, format)`, `format_time(t, format, zone)`."""
    moment = _local("format_time()", at, zone(*zones) if zones else UTC)
    if text in EPOCHS:
        factor, divisor = EPOCHS[text]
        return str(at * divisor // factor)  # type: ignore[operator]
    return writer(text)(moment)


def weekday(at: object, name: object) -> int:
    """`weekday(t, zone)`: Monday is 1."""
    return _local("weekday()", at, zone(name)).isoweekday()


def day_at(at: object, days: Any, clock: object, name: object) -> int:
    """`day_at(t, days, "HH:MM", zone)`: when the zone's clock shows this, so many calendar days after the day of t."""
    if type(days) is not int:
        refuse("day_at()", "a whole number of days", days)
    if not -_MAX_DAYS <= days <= _MAX_DAYS:
        raise ValueError(f"day_at() takes -{_MAX_DAYS} to {_MAX_DAYS} days, not {quoted(days)}")
    hour, minute = check_clock(clock)
    where = zone(name)
    try:
        day = _local("day_at()", at, where).date() + timedelta(days=days)
    except OverflowError:
        _no_year()
    return _milliseconds(datetime(day.year, day.month, day.day, hour, minute, tzinfo=where))


def check_clock(clock: object) -> tuple[int, int]:
    """Return hour and minute of a time of the day. Raises TypeError or ValueError."""
    if type(clock) is not str:
        refuse("a time of the day", "text", clock)
    match = re.fullmatch(_CLOCK, clock)
    if match is None:
        raise ValueError(f'{quoted(clock)} is no time of the day such as "08:00"')
    return int(match[1]), int(match[2])


def check_read(arguments: list[Any]) -> None:
    """Check the arguments of `timestamp` that need each other. Raises ValueError."""
    text = arguments[1] if len(arguments) > 1 else "iso"
    given = len(arguments) > 2
    if text in EPOCHS or text == "http":
        if given:
            raise ValueError(f'the format "{text}" needs no zone')
    elif not given and reader(text).zone == "never":
        raise ValueError(_no_zone(text))


def check_written(arguments: list[Any]) -> None:
    """Check the arguments of `format_time` that need each other. Raises ValueError."""
    if len(arguments) > 2 and (arguments[1] in EPOCHS or arguments[1] == "http"):
        raise ValueError(f'the format "{arguments[1]}" has no zone')


def check_format_read(text: str) -> None:
    """Check a format of `timestamp`. Raises ValueError."""
    if text not in EPOCHS:
        reader(text)


def check_format_written(text: str) -> None:
    """Check a format of `format_time`. Raises ValueError."""
    if text not in EPOCHS:
        writer(text)
