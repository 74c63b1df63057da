"""Large and hostile configurations: one is loaded soon, the other refused soon."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import pytest

from bridge import config
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
}


def test_5000_routes_are_loaded_soon(tmp_path: Path) -> None:
    """Read, checked and compiled in less than 2 s of CPU; the tests run on any machine, so they allow a multiple."""
    path = tmp_path / "bridge.yaml"
    path.write_text(_SOURCE + "".join(_ROUTE.format(number) for number in range(5000)))
    began = time.process_time()
    loaded = config.load(path, check=check_routes)
    assert time.process_time() - began < 4
    assert len(loaded.routes) == 5000


@pytest.mark.parametrize("text", _HOSTILE.values(), ids=_HOSTILE.keys())
def test_a_hostile_file_is_refused_soon(tmp_path: Path, text: str) -> None:
    """In less than 1 s of CPU; the tests run on any machine, so they allow a multiple."""
    path = tmp_path / "bridge.yaml"
    path.write_text(text[: 1 << 20])
    began = time.process_time()
    with pytest.raises(ConfigError):
        config.load(path, check=check_routes)
    assert time.process_time() - began < 3
