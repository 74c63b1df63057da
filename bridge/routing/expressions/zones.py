"""Time zones: the closed set of IANA's names, and fixed offsets.

A zone is loaded when the configuration is read, so that an event reads no file: the zones that are written out, or all
of them where an event gives the name.
"""

from __future__ import annotations

import re
from datetime import UTC, timedelta, timezone, tzinfo
from functools import cache, lru_cache
from typing import Final

from bridge.config.wording import near_miss, quoted
from bridge.routing.expressions.values import refuse

_OFFSET: Final = r"[-+](?:[01][0-9]|2[0-3]):[0-5][0-9]"
#: The longest name that is shown or looked for.
_MAX_NAME: Final = 64

_loaded: Final[dict[str, tzinfo]] = {"UTC": UTC}


@cache
def names() -> frozenset[str]:
    """Return the names that are known: those of the package `tzdata`, on every machine the same; without it the system's.

    Raises ValueError if there are none.
    """
    from importlib.resources import files  # noqa: PLC0415 - as zoneinfo: a bridge without times need not import it

    try:
        return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())
    except (ModuleNotFoundError, FileNotFoundError):
        from zoneinfo import available_timezones  # noqa: PLC0415

    known = frozenset(available_timezones())
    if not known:
        raise ValueError("no time zone is on this machine; pip install tzdata")
    return known


def load(name: object) -> None:
    """Load the zone of a name that is written out. Raises TypeError or ValueError if there is none."""
    if type(name) is not str:
        refuse("a zone", "text", name)
    if name not in _loaded and not re.fullmatch(_OFFSET, name) and name in names():
        # The import takes 10 ms, which a bridge without times need not spend.
        from zoneinfo import ZoneInfo  # noqa: PLC0415

        _loaded[name] = ZoneInfo(name)
    try:
        zone(name)
    except ValueError as error:
        hint = near_miss(name, names())
        raise ValueError(f"{error}; {hint}" if hint else str(error)) from None


@cache
def load_all() -> None:
    """Load every zone: an event may give any of them."""
    for name in names():
        load(name)


def zone(name: object) -> tzinfo:
    """Return a zone that is loaded, or the one of a fixed offset such as `+02:00`."""
    if type(name) is not str:
        refuse("a zone", "text", name)
    found = _loaded.get(name)
    if found is None:
        if len(name) > _MAX_NAME or not re.fullmatch(_OFFSET, name):
            raise ValueError(f'there is no zone {quoted(name)}: a zone is a name such as "Europe/Berlin", or "+02:00"')
        found = _fixed(name)
    return found


@lru_cache(maxsize=256)
def _fixed(offset: str) -> tzinfo:
    minutes = int(offset[1:3]) * 60 + int(offset[4:])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
