"""`completion`: the shell completes commands, options, their values, and files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bridge.commands.arguments import command_line


def _program(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    from bridge.cli import main  # noqa: PLC0415 - as the command line does

    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("ch", ["check"]),
        ("check --allow", ["--allow-unset"]),
        ("check --con", ["--connect"]),
        ("check bri", ["bridge.yaml"]),
        ("check --color a", ["auto", "always"]),
        ("schema --manifest act", ["actors.json"]),
        ("run --log-format j", ["json"]),
        ("run --rel", ["--reload-on-change"]),
        ("reload --w", ["--wait"]),
        ("status --config bri", ["bridge.yaml"]),
        ("graph --format m", ["mermaid"]),
        ("completion ", ["bash", "zsh", "fish"]),
        ("dead pu", ["purge"]),
        ("dead retry --th", ["--through"]),
        ("dead export --config bri", ["bridge.yaml"]),
    ],
)
def test_bash_completes(words: str, completed: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A real bash, asked as at the Tab key."""
    (tmp_path / "bridge.yaml").touch()
    (tmp_path / "actors.json").touch()
    (tmp_path / "completion.bash").write_text(_program("bash", capsys))
    typed = ["dramatiq-bridge", *words.split(" ")]
    script = (
        'source completion.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); compopt() { :; }\n'
        '$(complete -p dramatiq-bridge | sed \'s/.*-F \\([^ ]*\\).*/\\1/\') "$1" "${!#}"\nprintf \'%s\\n\' "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script, "bash", *typed], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True
    )
    assert [word.strip() for word in done.stdout.splitlines()] == completed, done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_know_every_command(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And read the program without an error, where they are installed."""
    program = _program(shell, capsys)
    commands = next(action.choices for action in command_line()._actions if action.dest == "command")
    assert commands is not None
    for name in commands:
        assert name in program
    if shutil.which(shell):
        (tmp_path / "program").write_text(program)
        subprocess.run([shell, "--no-execute", str(tmp_path / "program")], timeout=30, check=True)
