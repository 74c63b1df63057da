"""The functions of the language, and the globals of rewritten expressions."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from bridge.config.wording import quoted
from bridge.model.json_limits import check_exponents
from bridge.routing.expressions import arithmetic, equality, fields, purse, regex, slices, text
from bridge.routing.expressions.lookup import lookups
from bridge.routing.expressions.values import key, refuse

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def _len(value: object) -> int:
    if type(value) not in (str, list, dict, bytes):
        refuse("len()", "text, a list or a mapping", value)
    return len(value)  # type: ignore[arg-type]


def _now() -> int:
    return time.time_ns() // 1_000_000


def _timestamp(value: object) -> int:
    if type(value) is not str:
        refuse("timestamp()", "text", value)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{quoted(value)} is not a time in ISO 8601") from None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MILLISECOND


def _json(value: object) -> object:
    if type(value) is not str and type(value) is not bytes:
        refuse("json()", "text", value)
    data: bytes = value.encode() if type(value) is str else value  # type: ignore[assignment]
    try:
        check_exponents(data)
        return msgspec.json.decode(data)
    except ValueError as error:
        raise ValueError(f"json(): {error}") from None


class Function(NamedTuple):
    """A function of the language, and how many arguments it takes; `max_args` is None if there is no bound."""

    call: Callable[..., object]
    min_args: int
    max_args: int | None


#: Those of a configuration without tables.
LOOKUPS: Final = lookups({})
#: Every function that an expression may call. `default` and `has` get their arguments unevaluated.
FUNCTIONS: Final[dict[str, Function]] = {
    "default": Function(fields.default, 2, 2),
    "has": Function(fields.has, 1, 1),
    "len": Function(_len, 1, 1),
    "int": Function(arithmetic.to_int, 1, 1),
    "float": Function(arithmetic.to_float, 1, 1),
    "str": Function(text.text_of, 1, 1),
    "bool": Function(bool, 1, 1),
    "round": Function(arithmetic.rounded, 1, 2),
    "abs": Function(arithmetic.absolute, 1, 1),
    "min": Function(arithmetic.extreme("min", min), 1, None),
    "max": Function(arithmetic.extreme("max", max), 1, None),
    "lower": Function(text.changed("lower()", str.lower), 1, 1),
    "upper": Function(text.changed("upper()", str.upper), 1, 1),
    "strip": Function(text.changed("strip()", str.strip), 1, 1),
    "split": Function(text.split, 1, 2),
    "join": Function(text.join, 2, 2),
    "starts_with": Function(text.tested("starts_with()", str.startswith), 2, 2),
    "ends_with": Function(text.tested("ends_with()", str.endswith), 2, 2),
    "matches": Function(regex.matches, 2, 2),
    "now": Function(_now, 0, 0),
    "timestamp": Function(_timestamp, 1, 1),
    "json": Function(_json, 1, 1),
    "to_json": Function(text.json_of, 1, 1),
    "base64": Function(text.base64_of, 1, 1),
    "sha256": Function(text.sha256_of, 1, 1),
    "lookup": Function(LOOKUPS["_lookup"], 2, 3),
}

#: The globals that rewritten code needs; nothing else is reachable from it.
RUNTIME: Final[dict[str, object]] = {
    "__builtins__": {},
    **{f"_{name}": function.call for name, function in FUNCTIONS.items()},
    **{f"_{operator.__name__}": compute for operator, compute in arithmetic.OPERATORS.items()},
    **LOOKUPS,
    "_pick": fields.pick,
    "_present": fields.present,
    "_concat": text.concat,
    "_format": text.formatted,
    "_key": key,
    "_whole": text.whole,
    "_type": type,
    "_text": str,
    "_slice": slices.part,
    **equality.RUNTIME,
    **purse.RUNTIME,
}
#: Those of them that read a field, or a table, by themselves.
READERS: Final = frozenset({"_pick", "_present", "_default", "_has", "_slice", *LOOKUPS})
