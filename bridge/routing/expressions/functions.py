"""The functions of the language, and the globals of rewritten expressions."""

from __future__ import annotations

from typing import Final

from bridge.routing.expressions import (
    arithmetic,
    coding,
    equality,
    fields,
    hashes,
    kinds,
    lists,
    money,
    purse,
    regex,
    repetition,
    slices,
    text,
    times,
    zones,
)
from bridge.routing.expressions.lookup import lookups
from bridge.routing.expressions.signatures import Checked, Function
from bridge.routing.expressions.values import key

_PLACES: Final = Checked("number of places", money.check_places)
_MARKS: Final = Checked("marks", money.check_marks)
_ZONE: Final = Checked("zone", zones.load, prepare=zones.load_all)

#: The functions behind `lookup`, for a configuration without tables; `compile_routes` replaces them.
LOOKUPS: Final = lookups({})
#: Every function that an expression may call.
FUNCTIONS: Final[dict[str, Function]] = {
    "default": Function(fields.default, 2, 2, lazy=True),
    "has": Function(fields.has, 1, 1, lazy=True),
    "catch": Function(fields.catch, 2, 2, lazy=True),
    "type": Function(kinds.type_of, 1, 1),
    "bool": Function(kinds.truth, 1, 1),
    # Text.
    "len": Function(lists.length, 1, 1),
    "str": Function(text.text_of, 1, 1),
    "lower": Function(text.changed("lower()", str.lower), 1, 1),
    "upper": Function(text.changed("upper()", str.upper), 1, 1),
    "strip": Function(text.strip, 1, 2),
    "replace": Function(text.replace, 3, 3),
    "split": Function(text.split, 1, 2),
    "join": Function(text.join, 2, 2),
    "starts_with": Function(text.tested("starts_with()", str.startswith), 2, 2),
    "ends_with": Function(text.tested("ends_with()", str.endswith), 2, 2),
    "matches": Function(regex.matches, 2, 2, {1: Checked("regex", regex.check, required=True)}),
    "capture": Function(regex.capture, 2, 2, {1: Checked("regex", regex.check_capture, required=True)}, steps=100),
    # Numbers.
    "int": Function(arithmetic.to_int, 1, 2, {1: Checked("base", arithmetic.check_base)}),
    "float": Function(arithmetic.to_float, 1, 1),
    "round": Function(arithmetic.rounded, 1, 2),
    "abs": Function(arithmetic.absolute, 1, 1),
    "min": Function(arithmetic.extreme("min", min), 1, None),
    "max": Function(arithmetic.extreme("max", max), 1, None),
    "sum": Function(lists.sum_of, 1, 1),
    "decimal": Function(money.decimal, 1, 3, {1: _PLACES, 2: _MARKS}, steps=200),
    "cents": Function(money.cents, 1, 3, {1: _PLACES, 2: _MARKS}, steps=150),
    # Times.
    "now": Function(times.now, 0, 0),
    "timestamp": Function(
        times.timestamp,
        1,
        3,
        {1: Checked("format", times.check_format_read, required=True), 2: _ZONE},
        times.check_read,
        steps=200,
        steps_per_char=5,
    ),
    "format_time": Function(
        times.format_time,
        2,
        3,
        {1: Checked("format", times.check_format_written, required=True), 2: _ZONE},
        times.check_written,
        steps=200,
        steps_per_char=15,
    ),
    "day_at": Function(times.day_at, 4, 4, {2: Checked("time of the day", times.check_clock), 3: _ZONE}, steps=200),
    "weekday": Function(times.weekday, 2, 2, {1: _ZONE}, steps=100),
    # Lists and mappings.
    "keys": Function(lists.keys, 1, 1),
    "values": Function(lists.values, 1, 1),
    "items": Function(lists.items, 1, 1),
    "merge": Function(lists.merge, 1, 10),
    "without": Function(lists.without, 2, None),
    "any": Function(lists.any_of, 1, 1),
    "all": Function(lists.all_of, 1, 1),
    "sort": Function(lists.sort, 1, 2, steps=50),
    "unique": Function(lists.unique, 1, 1, steps=100),
    "flatten": Function(lists.flatten, 1, 1),
    # Coding and hashes.
    "json": Function(coding.json_value, 1, 1),
    "to_json": Function(text.json_of, 1, 1),
    "base64": Function(coding.base64_of, 1, 1),
    "base64_decode": Function(coding.base64_decode, 1, 1, steps=100),
    "hex": Function(coding.hex_of, 1, 1),
    "url_encode": Function(coding.url_encode, 1, 1),
    "url_decode": Function(coding.url_decode, 1, 1, steps=50),
    "sha256": Function(hashes.sha256_of, 1, 1),
    "md5": Function(hashes.md5_of, 1, 1),
    "sha1": Function(hashes.sha1_of, 1, 1),
    "hmac": Function(
        hashes.hmac_of,
        2,
        4,
        {2: Checked("hash", hashes.check_hash), 3: Checked("coding", hashes.check_coding)},
        steps=150,
    ),
    "uuid5": Function(hashes.uuid5, 1, 2, {1: Checked("namespace", hashes.namespace_of)}, steps=150),
    "bucket": Function(hashes.bucket, 2, 2, {1: Checked("number of buckets", hashes.check_buckets)}),
    # Tables.
    "lookup": Function(LOOKUPS["_lookup"], 2, 3, {0: Checked("table", str, required=True)}, lazy=True),
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
    "_fstring": text.bounded_fstring,
    "_class": type,
    "_text": str,
    "_slice": slices.part,
    **equality.RUNTIME,
    **purse.RUNTIME,
    **repetition.RUNTIME,
}
#: The functions of RUNTIME that read a field, or a table, by themselves.
READERS: Final = frozenset({"_pick", "_present", "_default", "_has", "_slice", "_catch", *LOOKUPS})
