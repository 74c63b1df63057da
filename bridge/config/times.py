"""A point in time as people write it: milliseconds since 1970, or a time with its zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from bridge.config.wording import describe
from bridge.errors import InvalidValue

TIME_EXAMPLE: Final = "2026-11-27T06:00:00Z"
#: A smaller number is meant as seconds: as milliseconds it is before 1973, and as seconds this is in the year 5138.
MIN_MILLISECONDS: Final = 10**11
#: The last millisecond of the year 9999.
_LAST: Final = 253_402_300_799_999
EPOCH: Final = datetime.fromtimestamp(0, UTC)


def parse_time(value: object) -> int:
    """Return the milliseconds since 1970 of a time with its zone, or of milliseconds from 1973 on.

    Raises:
        InvalidValue: it is neither, or before 1970, or seems to be seconds.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= _LAST:
            raise InvalidValue("takes a time after 1970 and before the year 10000", f"as in {TIME_EXAMPLE}")
        if value < MIN_MILLISECONDS:
            message = (
                f"takes whole milliseconds since 1970, and {value} of them end before 1973: multiply seconds by 1000"
            )
            raise InvalidValue(message, f"or write a time, as in {TIME_EXAMPLE}")
        return int(value)
    if not isinstance(value, str):
        kind = "a fraction" if isinstance(value, float) else describe(value)
        raise InvalidValue(f"takes a time, or whole milliseconds since 1970, not {kind}", f"as in {TIME_EXAMPLE}")
    time = iso_time(value)
    if time.tzinfo is None or time < EPOCH:
        raise InvalidValue("takes a time after 1970 with its zone", f"as in {TIME_EXAMPLE}")
    return milliseconds(time)


def iso_time(text: str) -> datetime:
    """Return the time that `text` spells in ISO 8601, with a zone or without one.

    Raises:
        InvalidValue: there is no such time.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidValue("takes a time that exists", f"as in {TIME_EXAMPLE}") from None


def milliseconds(time: datetime) -> int:
    """Return the whole milliseconds since 1970 of a time with a zone."""
    return (time - EPOCH) // timedelta(milliseconds=1)
