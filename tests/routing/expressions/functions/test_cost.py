"""The cost of the functions: 1 ms for each 64 KiB that one reads, and 10 ms in all, on the worst values that were found."""

from __future__ import annotations

import contextlib
import random
import re
import time
from typing import Any, Final

import msgspec
import pytest

from bridge.routing.expressions import EXPRESSION_ERRORS, FUNCTIONS, NAMES, TooLarge, parse
from tests.support.evaluation import build

# Coverage's tracer takes a multiple of the CPU time that is measured here.
pytestmark = pytest.mark.no_cover

KIB, MIB = 2**10, 2**20
#: The test runs on any machine, beside others: it allows tenfold.
MARGIN = 10
chance = random.Random(20)
AB = "".join(chance.choices("ab", k=MIB))
#: Whole numbers that all have the hash 0.
ONE_HASH = [k * (2**61 - 1) for k in range(10_000)]
FLOATS = [chance.random() * 10 ** chance.randint(-300, 300) for _ in range(10_000)]
MAPPING = {str(number): number for number in range(10_000)}
LATE = "a" * 49 + "b" + "a" * 49
AT = 1_795_685_400_123
CODES = "%z%j" * 25

#: These take at most 10 ms, and may need them for a short text: of a regex the bound is the work, and of JSON it is the
#: number of the floats that take the longest to read.
WORK: Final[list[tuple[str, Any]]] = [
    ("json(payload)", "[" + "1e300," * 999 + "1]"),
    *((f"capture(payload, '{regex}')", AB[:size]) for regex in (
        "(.*)(b*)(a*)", "([ab]*a)([ab]{80})", "(a*?)(b*?)((?:a|b)*?)$", "(a)|(b)|(.)", "(([a-b]*)*)*c?", ".*",
        "[ab]*a[ab]{10}c", "(?:[ab]{0,300}a){3}c") for size in (MIB, 64 * KIB, 20 * KIB, 5 * KIB, 500, 100)),
    *((f"matches(payload, '{regex}')", AB[:size]) for regex in (
        "[ab]*a[ab]{10}c", "[ab]*a[ab]{15}c", "[ab]*[ab]*a", "b[ab]*ba{0,3}(?:a|b){5}b+", "(?i)[a-z]+x", "[ab]*a[ab]{80}c",
        "(?:[ab]{0,300}a){3}c") for size in (MIB, 64 * KIB, 40 * KIB, 10 * KIB, 500)),
]  # fmt: skip
CASES: Final[list[tuple[str, Any]]] = [
    *((f"replace(payload, '{old}', '{new}')", "a" * MIB) for old, new in (("a", "b"), ("aa", "bb"), ("aaab", ""), (LATE, ""))),
    (f"replace(payload, '{LATE}', '')", "a" * 29_999),
    ("replace(payload.t, payload.o, '')", {"t": "a" * (MIB - 10_001), "o": "a" * 5_000 + "b" + "a" * 5_000}),
    ("replace(payload, 'a', 'bb')", "a" * (MIB // 2)),
    *((f"strip(payload{chars})", text * MIB) for chars, text in (
        ("", " "), (f', "{"".join(map(chr, range(0x4E00, 0x4E63)))}a"', "a"))),
    ("split(payload)", "a " * (MIB // 2)),
    ("split(payload, 'a')", "a" * MIB),
    ("join(',', payload)", ["a"] * (MIB // 4)),
    ("lower(payload)", "İ" * (MIB // 2)),
    ("upper(payload)", "ΐ" * (MIB // 3)),
    ("starts_with(payload, payload)", "a" * MIB),
    ("ends_with(payload, payload)", "a" * MIB),
    ("len(payload)", "€" * MIB),
    ("str(payload)", [1.5] * (MIB // 4)),
    ("str(payload)", FLOATS),
    ("to_json(payload)", "\x01" * (MIB // 6)),
    ("to_json(payload)", [[]] * (MIB // 3)),
    ("json(payload)", "[" + "1," * (MIB // 2 - 1) + "1]"),
    ("bool(payload)", " " * MIB),
    ("int(payload)", "9" * 4300),
    ("int(payload, 16)", "f" * 3570),
    ("int(payload, 2)", " " * MIB),
    ("float(payload)", "9" * MIB),
    ("round(payload, -400)", 10**4299),
    ("abs(payload)", -(10**4299)),
    ("min(payload)", [str(number) for number in range(100_000)]),
    ("max(payload)", list(range(100_000))),
    ("sum(payload)", FLOATS),
    ("sum(payload)", [10**90] * 10_000),
    ("decimal(payload, 10, ', ')", " " * 200),
    ("decimal(payload, 2, ', ')", "9 " * 100),
    ("decimal(payload, 2, '.,')", "1,111" * 40),
    ("decimal(payload, 10)", "9" * 38),
    ("decimal(payload)", "x" * MIB),
    ("decimal(payload)", 5e-324),
    ("cents(payload)", 10**4299),
    ("cents(payload)", "1" * MIB),
    ("timestamp(payload)", "9" * MIB),
    ("timestamp(payload, 'rfc2822')", " " * 5_000),
    ("timestamp(payload, 'rfc2822')", "1 Jan 2026 00:00 " + "(" * 4_900),
    ("timestamp(payload, '%A %B %d %Y', 'UTC')", "september " * 500),
    ("timestamp(payload, '%d%m%y%H%M%S%f', 'UTC')", "1" * 5_000),
    ("timestamp(payload, 's')", "9" * MIB),
    ("timestamp(payload, 'ns')", 10**4299),
    ("timestamp('2026-01-01', 'iso', payload)", "+" * MIB),
    (f"format_time(payload, '{CODES}', 'Europe/Berlin')", AT),
    ("day_at(payload, 366, '08:00', 'Europe/Berlin')", AT),
    ("weekday(payload, 'Europe/Berlin')", AT),
    *((f"{name}(payload)", MAPPING) for name in ("keys", "values", "items")),
    (f"merge({', '.join(['payload'] * 10)})", MAPPING),
    ("without(payload, 'a', 'b')", MAPPING),
    ("any(payload)", [False] * 10_000),
    ("all(payload)", [True] * 10_000),
    ("sort(payload)", chance.sample([f"{'é' * 20}{number}" for number in range(10_000)], 10_000)),
    ("sort(payload)", chance.sample([("€" if number % 2 else "é") * 50 + str(number) for number in range(9_000)], 9_000)),
    ("sort(payload)", chance.sample(FLOATS[:5_000] + ONE_HASH[:5_000], 10_000)),
    ("sort(payload)", [[number] for number in FLOATS]),
    ("sort(payload, true)", ["a" * 100_000 + str(number) for number in range(10)]),
    ("unique(payload)", ONE_HASH),
    ("unique(payload)", [number << 45 for number in range(10_000)]),
    ("unique(payload)", FLOATS),
    ("unique(payload)", [2.0**60 * number for number in range(10_000)]),
    ("unique(payload)", [{"b": number, "a": [number]} for number in range(10_000)]),
    ("unique(payload)", [{str(key): key for key in range(100, 0, -1)} for _ in range(900)]),
    ("flatten(payload)", [[number] for number in range(10_000)]),
    ("base64(payload)", "a" * (MIB // 4 * 3)),
    ("base64_decode(payload)", "4oKs" * (MIB // 4)),
    ("base64_decode(payload)", "€" * MIB),
    ("hex(payload)", "€" * (MIB // 6)),
    ("url_encode(payload)", "a " * (MIB // 6)),
    ("url_decode(payload)", "a%20" * (MIB // 4)),
    ("url_decode(payload)", "%E2%82%AC" * (MIB // 9)),
    ("url_decode(payload)", "=" * MIB),
    *((f"{name}(payload)", "a" * MIB) for name in ("sha256", "md5", "sha1", "uuid5")),
    ("hmac(payload, payload, 'sha512')", "a" * MIB),
    ("bucket(payload, 8)", [1] * (MIB // 4)),
]  # fmt: skip
#: Those that read nothing that grows.
SMALL: Final = {"default", "has", "catch", "type", "now", "lookup"}


def _cost_s(text: str, payload: object) -> float:
    """Return the CPU time of one evaluation, the least of three."""
    function = build(parse(text, NAMES))
    values = dict.fromkeys((*NAMES, "oven", "plant"), "") | {"payload": payload}
    times = []
    for _ in range(3):
        began = time.thread_time()
        with contextlib.suppress(TooLarge, *EXPRESSION_ERRORS):
            function(**values)
        times.append(time.thread_time() - began)
    return min(times)


def _dear(cases: list[tuple[str, Any]], least_s: float) -> list[str]:
    dear = []
    for text, payload in cases:
        size = len(payload.encode()) if isinstance(payload, str) else len(msgspec.json.encode(payload))
        size *= text.count("payload")
        allowed_s = min(0.010, max(least_s, 0.001 * size / (64 * KIB)))
        spent_s = _cost_s(text, payload)
        if spent_s > MARGIN * allowed_s:
            dear.append(f"{text[:60]}: {spent_s * 1000:.1f} ms for {size} bytes")
    return dear


def test_no_function_takes_long() -> None:
    """1 ms for each 64 KiB that it reads, and at most 10 ms."""
    assert _dear(CASES, 0.001) == []


def test_no_short_text_takes_long() -> None:
    """At most 10 ms, whatever the regex and the text are."""
    assert _dear(WORK, 0.010) == []


def test_every_function_is_measured() -> None:
    """A new one gets its worst values above."""
    measured = {match[1] for text, _ in CASES + WORK if (match := re.match(r"(\w+)\(", text))}
    assert set(FUNCTIONS) - measured - SMALL == set()


#: Calls in a loop, each with a value that takes long for its size.
LOOPS: Final[list[tuple[str, Any]]] = [
    ("unique(x)", [0.1, 0.2, 0.3, 0.4] * 5),
    ("unique(x)", [2**70 + number for number in range(30)]),
    ("sort(x)", [3, 1.5, 2, 8] * 5),
    ("sum(x)", [number * 10.0 ** (number * 20 - 300) for number in range(30)]),
    ("catch(decimal(x, 2, '.,'), 0)", "1,1" * 60),
    ("catch(cents(x), 0)", "19.999"),
    ("decimal(x, 10)", 1e-37),
    ("format_time(x, '%z%j%z%j%z%j%z%j%z%j%z%j%z%j%z%j%z%j', 'Europe/Berlin')", AT),
    ("format_time(x, 'iso', 'Europe/Berlin')", AT),
    ("timestamp(x, 'rfc2822')", "Thu, 26 Nov 2026 10:30:00 +0100"),
    ("timestamp(x, '%A %d %B %Y %I:%M %p', 'UTC')", "thursday 26 november 2026 10:30 am"),
    ("day_at(x, 1, '08:00', 'Europe/Berlin')", AT),
    ("capture(x, '([a-z]+)-([0-9]+)')", "order-42"),
    ("capture(x, '(a*)(b*)(c*)')", "a" * 50),
    ("json(x)", "[1e300,1e300,1e300]"),
    ("catch(json(x), 0)", "{" * 10),
    ("hmac('k', x, 'sha512')", "a"),
    ("strip(x, '#abcdefghijklmnopqrstuvwxyz')", "z" * 100),
]


def test_no_loop_of_calls_takes_long() -> None:
    """It is done, or refused, within 20 ms: each call pays for the time that it takes."""
    dear = {}
    for text, value in LOOPS:
        for turns in (3_500, 900):
            spent_s = _cost_s(f"[{text} for x in payload]", [value] * turns)
            if spent_s > MARGIN * 0.020:
                dear[text] = f"{spent_s * 1000:.1f} ms"
    assert dear == {}
