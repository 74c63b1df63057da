"""The README's first route, as a newcomer types it: each command prints what the README shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

import pytest

from bridge import cli
from tests.support.children import REPOSITORY

README: Final = (REPOSITORY / "README.md").read_text(encoding="utf-8")
CHANGED: Final = re.compile(r"\s+# with (args: \[.*?\]) in the route$")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def _commands() -> list[tuple[str, str]]:
    """The commands of `Know before it runs`, each with the output that follows it."""
    section = README.partition("## Know before it runs")[2].partition("\n## ")[0]
    typed = "".join(re.findall(r"^```console\n(.*?)^```$", section, re.MULTILINE | re.DOTALL))
    commands = re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", typed, re.MULTILINE)
    assert len(commands) == 5
    return commands


def test_know_before_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the README's order, in a folder that holds its two files and nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    config = "\n".join(_blocks("yaml")[:2])
    Path("actors.py").write_text(_blocks("python")[0])
    Path("bridge.yaml").write_text(config)
    for typed, shown in _commands():
        changed = CHANGED.search(typed)
        if changed:
            Path("bridge.yaml").write_text(re.sub(r"args: \[\$payload.*\]", changed[1], config, count=1))
        program, *words = shlex.split(typed, comments=True)
        assert program == "dramatiq-bridge"
        cli.main(words)
        out, err = capsys.readouterr()
        printed = re.sub(r" in \d\.\d\d s", " in 0.01 s", out + err)
        assert printed.startswith(shown), typed
        assert shown or printed == "", typed
