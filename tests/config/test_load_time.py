"""Large and hostile configurations: one is loaded soon, the other refused soon."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import pytest

from bridge import config
from bridge.config import reader
from bridge.errors import ConfigError
from bridge.routing.compiler import check_routes

_SOURCE: Final = "sources: {s: {type: mqtt, url: mqtt://localhost, client_id: c}}\nroutes:\n"
_ROUTE: Final = """\
  - {{from: s, name: r{0}, actor: hot, topic: "plants/p{0}/{{oven}}/t", when: payload.c > 250, args: [$payload.c, $oven],
     kwargs: {{text: '$f"{{oven}} has {{payload.c}}"'}}}}
"""
_HOSTILE: Final = {
    "brackets": "[" * 40_000,
    "a million brackets": "a: " + "[" * 1_000_000,
    "braces": "{" * 500_000,
    "digits": _SOURCE + f"  - {{from: s, actor: a, args: [{'9' * 20_000}]}}",
    "a million digits": _SOURCE + f"  - {{from: s, actor: a, args: [{'9' * 1_000_000}]}}",
    "deep nesting": "\n".join(" " * depth + "a:" for depth in range(1400)),
    "anchors": "a: " + "&a " * 300_000,
    "aliases": "a: &a [x]\nb: [" + ",".join(["*a"] * 300_000) + "]",
    "duplicate keys": "k: 1\n" * 200_000,
    "colons": "a: " + "b: " * 300_000,
    "unknown sources": "sources: {"
    + ", ".join(f"s{number}: {{type: mqtt, url: mqtt://h}}" for number in range(8000))
    + "}\nroutes:\n"
    + "".join(f"  - {{from: t{number}, actor: a}}\n" for number in range(15_000)),
    "unknown keys": _SOURCE + "".join(f"  - {{fro{number}: p}}\n" for number in range(58_000)),
    "misspelt secrets": "".join(f"pass{number}: |\n  x\n" for number in range(58_000)),
    "unknown types": "sources:\n" + "".join(f"  s{number}: {{type: redis-pubsu}}\n" for number in range(30_000)),
    "a million values": "x: [" + "a," * 500_000 + "]",
    "unquoted wildcards": _SOURCE
    + "".join(f"  - {{from: s, name: r{number}, actor: a, topic: a/{number}/b}}\n" for number in range(16_000))
    + "  - from: s\n    actor: a\n    topic: *.created\n" * 60,
    "a wildcard and brackets": "a: *.created\nb: " + "[" * 1_000_000,
    "taken names": _SOURCE + "  - {name: n, from: s, actor: a}\n" * 27_000,
    **{
        f"unfinished, {name}": "".join(f'k{number}: &x "{text[:3950]}"\n' for number in range(240)) + "b: [\n"
        for name, text in {
            "letters": "a" * 4000,
            "dashes": "a-" * 2000,
            "keys": "a:_" * 1500,
            "slashes": "//" * 2000,
            "addresses": "h://" * 1000,
            "passwords": "password " * 500,
        }.items()
    },
}
#: Where coverage's tracer would take most of the CPU time. Other cases reach the same code.
_UNTRACED: Final = {
    *("unknown keys", "misspelt secrets", "unknown types", "a million values", "unquoted wildcards", "taken names"),
}
#: Tenfold of what a file of 1 MiB may take.
_LONG_S: Final = 20


@pytest.mark.no_cover  # the tracer takes a multiple of the CPU time that is measured
def test_5000_routes_are_loaded_soon(tmp_path: Path) -> None:
    """Read, checked and compiled in less than 3 s of CPU; the tests run on any machine, so they allow tenfold."""
    path = tmp_path / "bridge.yaml"
    path.write_text(_SOURCE + "".join(_ROUTE.format(number) for number in range(5000)))
    began = time.process_time()
    loaded = config.load(path, check=check_routes)
    assert time.process_time() - began < 30
    assert len(loaded.routes) == 5000


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(text, id=name, marks=[pytest.mark.no_cover] if name in _UNTRACED else [])
        for name, text in _HOSTILE.items()
    ],
)
def test_a_hostile_file_is_refused_soon(tmp_path: Path, text: str) -> None:
    """In less than 2 s of CPU; the tests run on any machine, so they allow tenfold."""
    path = tmp_path / "bridge.yaml"
    path.write_text(text[: 1 << 20])
    began = time.process_time()
    with pytest.raises(ConfigError):
        config.load(path, check=check_routes)
    assert time.process_time() - began < _LONG_S


def test_a_file_of_too_many_values_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a bound of ten values it takes a small file."""
    monkeypatch.setattr(reader, "MAX_VALUES", 10)
    path = tmp_path / "bridge.yaml"
    path.write_text("x: [" + "a," * 20 + "]")
    with pytest.raises(ConfigError, match="the file holds more than 10 values"):
        config.load(path, check=check_routes)


def test_hints_are_bounded_and_secrets_are_found_all_the_same(tmp_path: Path) -> None:
    """The first mistakes have their hints; a misspelt password behind thousands of mistakes is still masked."""
    path = tmp_path / "bridge.yaml"
    path.write_text(_SOURCE + "".join(f"  - {{fro{number}: p, passwrd: hunter2}}\n" for number in range(5000)))
    with pytest.raises(ConfigError) as refused:
        config.load(path, check=check_routes)
    assert len(refused.value.diagnostics) == 100
    assert "did you mean 'from'?" in {diagnostic.hint for diagnostic in refused.value.diagnostics}
    assert "hunter2" not in str(refused.value)
