"""Loops from a grammar, and a payload that is hostile to each of them: large in every way that a body can be."""

from __future__ import annotations

import random
from typing import Any, Final

import msgspec

#: Fields of the payload that are lists, and others.
LISTS: Final = (
    "ints", "bools", "floats", "bigints", "texts", "long", "same", "huge", "mid", "pairs", "pairkeys", "hugepairs", "nested",
    "lists", "maps", "ten", "hundred",
)  # fmt: skip
OTHERS: Final = (
    "widemap", "hugekeys", "text", "short", "needle", "wide", "digits", "spaces", "deep", "json", "small", "n", "f", "t", "z", "m",
)  # fmt: skip
_PAIRS: Final = ("pairs", "pairkeys", "hugepairs")
_REGEXES: Final = ("a", "(?:[ab]{0,300}a)b", "(a|b)*c", "[a-z]+b$", "(x+x+)+y", "(a|b)*a(a|b){14}c")


def hostile(size: int) -> Any:
    """Return a payload of which each large field has about `size` bytes; no two values are the same object."""
    deep: object = 1
    for _ in range(500):
        deep = [deep]
    fields = {
        "ints": [2] * (size // 2),
        "bools": [True, False] * (size // 12),
        "floats": [1.5] * (size // 4),
        "bigints": [int("9" * 4_000)] * (size // 4_000),
        "texts": ["ab"] * (size // 5),
        "long": ["a" * 1_000 + str(number) for number in range(size // 1_000)],
        "same": ["a" * 1_000] * (size // 1_000),
        "huge": ["a" * (size // 4)] * 4,
        "mid": ["a" * 2_000 + "ba"] * (size // 2_000),
        "pairs": [["k", 1]] * (size // 10),
        "pairkeys": [["k" * 1_000, 1]] * (size // 1_000),
        "hugepairs": [["k" * (size // 4), 1]] * 4,
        "nested": [[1, [2, [3]]]] * (size // 12),
        "lists": [[1] * 100] * (size // 200),
        "maps": [{"a": 1, "b": "x"}] * (size // 16),
        "ten": list(range(10)),
        "hundred": [1] * 100,
        "widemap": {"k" * 20 + str(number): number for number in range(size // 30)},
        "hugekeys": {"k" * (size // 4) + str(number): number for number in range(4)},
        "text": "a" * size,
        "short": "a" * 2_400 + "b",
        "needle": "a" * 1_198 + "ba",
        "wide": "ΐ" * (size // 2),
        "digits": "9" * 4_000,
        "spaces": " a" * (size // 2),
        "deep": deep,
        "json": "[" + "1," * (size // 3) + "1]",
        "small": "abc",
        "n": 3,
        "f": 2.5,
        "t": True,
        "z": None,
        "m": {"a": {"b": [1, 2]}},
    }
    return msgspec.json.decode(msgspec.json.encode(fields))


class Grammar:
    """Writes expressions with the help of `chance`; some of them are mistakes."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._names: list[str] = []
        self._nested = 0

    def loop(self) -> str:
        """Return a comprehension."""
        if self._nested >= 3:
            return self._leaf()
        pairs = self._chance.random() < 0.15
        items = f"payload.{self._one(*_PAIRS)}" if pairs else self._list()
        names = [f"v{len(self._names)}{part}" for part in (("a", "b") if pairs else ("",))]
        self._names += names
        self._nested += 1
        is_mapping = self._chance.random() < 0.2
        element = f"{self._text()}: {self._element()}" if is_mapping else self._element()
        condition = f" if {self._condition()}" if self._chance.random() < 0.35 else ""
        self._nested -= 1
        del self._names[-len(names) :]
        loop = f"{element} for {', '.join(names)} in {items}{condition}"
        return f"{{{loop}}}" if is_mapping else f"[{loop}]"

    def _one(self, *choices: str) -> str:
        return self._chance.choice(choices)

    def _leaf(self) -> str:
        chance = self._chance.random()
        if self._names and chance < 0.5:
            return self._one(*self._names)
        if chance < 0.6:
            return f"payload.{self._one(*LISTS)}"
        if chance < 0.66:
            return f"payload.{self._one('same', 'mid', 'long')}[0]"
        if chance < 0.72:
            return self._one("1", "true", '"ab"', '"aaaa"', "2.5", "null")
        return f"payload.{self._one(*OTHERS)}"

    def _list(self) -> str:
        chance = self._chance.random()
        if chance < 0.1 and self._names:
            return self._one(*self._names)
        if chance < 0.2:
            return f"payload.{self._one(*LISTS)}[{self._one('', '1', '-3')}:{self._one('', '10', '100')}]"
        if chance < 0.3:
            return self.loop()
        if chance < 0.35:
            separator = self._one("payload.needle", "payload.small", '"a"', '"aaaaab"')
            return f"split({self._leaf()}, {separator})"
        if chance < 0.4:
            return f"[{self._leaf()}, {self._leaf()}]"
        if chance < 0.44:
            return "json(payload.json)"
        return f"payload.{self._one(*LISTS)}"

    def _text(self) -> str:
        chance = self._chance.random()
        if chance < 0.4:
            return self._one("payload.text", "payload.needle", "payload.same[0]", "payload.huge[0]", '"a"')
        if chance < 0.7 and self._names:
            return self._one(*self._names)
        return f'f"{{{self._leaf()}}}{{{self._leaf()}}}"'

    def _condition(self) -> str:
        left, right = self._leaf(), self._leaf()
        return self._one(
            f"{left} {self._one('==', '!=')} {right}",
            f"{left} {self._one('<', '>=')} {right}",
            f"{left} {self._one('in', 'not in')} {right}",
            f"{left} in {self._list()}",
            f"{left} == {right} == {self._leaf()}",
            f"{self._one('starts_with', 'ends_with')}({self._text()}, {self._text()})",
            f'matches({self._text()}, "{self._one(*_REGEXES)}")',
        )

    def _element(self) -> str:
        leaf = self._leaf()
        index = self._one("0", "-1", "payload.n", "payload.same[0]", "payload.huge[0]", *self._names)
        return self._one(
            leaf,
            self.loop(),
            self._condition(),
            f"{leaf} if {self._condition()} else {self._leaf()}",
            f"[{leaf}, {self._leaf()}]",
            f'{{"a": {leaf}, {self._text()}: {self._leaf()}}}',
            self._text(),
            f"({leaf} {self._one('+', '*', '//', '**', '-', '%', '/')} {self._leaf()})",
            f"{leaf}[{index}]",
            f"{leaf}[{self._one('', '1', 'payload.n')}:{self._one('', '9', '-1')}]",
            f"default({leaf}.a.b, {self._leaf()})",
            self._call(),
            self._call(),
        )

    def _call(self) -> str:
        leaf, name = (
            self._leaf(),
            self._one("upper", "lower", "strip", "len", "int", "float", "str", "bool", "abs", "base64"),
        )
        return self._one(
            f"{name}({leaf})",
            f"round({leaf}, {self._one('2', '-400')})",
            f"{self._one('min', 'max')}({self._list()})",
            f"max({leaf}, {self._leaf()})",
            f"join({self._text()}, {self._list()})",
            f"split({leaf}, {self._text()})",
            f"split({leaf})",
            f"{self._one('sha256', 'to_json', 'json', 'timestamp')}({leaf})",
            f"json(to_json({leaf}))",
            f'f"{{{leaf}:>90}}"',
            f"{self._one('to_json', 'len', 'str', 'min')}({self.loop()})",
        )
