"""Debian roots: made once, tried once, and nothing goes on behind them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.interop import roots
from tests.interop.broker import Unavailable


def test_a_suite_that_cannot_be_made_is_tried_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its next broker gets the same answer, and no second debootstrap of half an hour."""
    tried = []

    def fail(argv: list[str], *_: object, **__: object) -> str:
        tried.append(argv)
        raise Unavailable("no mirror")

    monkeypatch.setattr(roots, "run", fail)
    for _ in range(2):
        with pytest.raises(Unavailable, match="Debian bullseye: no mirror"):
            roots.make("bullseye", tmp_path)
    assert len(tried) == 1


def test_a_time_out_ends_the_children_too(tmp_path: Path) -> None:
    """A debootstrap that goes on would write into the root of the next attempt."""
    child = tmp_path / "child"
    script = f"sh -c 'while :; do date +%s%N >{child}; sleep 0.05; done' & wait"
    with pytest.raises(Unavailable, match="did not end within 1 s"):
        roots.run(["sh", "-c", script], tmp_path, timeout_s=1)
    time.sleep(0.2)
    last = child.read_text()
    time.sleep(0.3)
    assert child.read_text() == last


def test_a_machine_has_all_packages_of_a_suite_or_is_no_root() -> None:
    """A broker alone is not enough: others of the suite need a JDK or Go."""
    assert roots.are_installed(["base-files"])
    assert not roots.are_installed(["base-files", "no-such-package"])


def test_a_root_without_the_program_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also where the machine's own system is the root."""

    class Missing(roots.InRoot):
        name = "missing-1.0"
        program = "no-such-server"
        suite = "trixie"

    monkeypatch.setattr(roots, "make", lambda *_: tmp_path)
    with pytest.raises(Unavailable, match="usr/bin/no-such-server is not there"):
        Missing.prepare(tmp_path)
