"""A point in time as people write it: milliseconds since 1970, or a time with its zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from bridge.config.wording import describe
from bridge.errors import InvalidValue

_TIME: Final = "2026-11-27T06:00:00Z"
#: The last millisecond of the year 9999.
_LAST: Final = 253_402_300_799_999
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


def parse_time(value: object) -> int:
    """Return the milliseconds since 1970 of a time with its zone, or of milliseconds.

    Raises:
        InvalidValue: it is neither, or before 1970.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= _LAST:
            raise InvalidValue("takes a time after 1970 and before the year 10000", f"as in {_TIME}")
        return int(value)
    if not isinstance(value, str):
        kind = "a fraction" if isinstance(value, float) else describe(value)
        raise InvalidValue(f"takes a time, or whole milliseconds since 1970, not {kind}", f"as in {_TIME}")
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise InvalidValue("takes a time that exists", f"as in {_TIME}") from None
    if time.tzinfo is None or time < _EPOCH:
        raise InvalidValue("takes a time after 1970 with its zone", f"as in {_TIME}")
    return (time - _EPOCH) // timedelta(milliseconds=1)
