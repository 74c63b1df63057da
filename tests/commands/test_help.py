"""Each `--help` has a sentence, an example that works, and the exit codes."""

from __future__ import annotations

import re
import shlex

import pytest

from bridge import cli
from bridge.commands.arguments import command_line

_COMMANDS = next(action.choices for action in command_line()._actions if action.dest == "command")
assert _COMMANDS is not None


@pytest.mark.parametrize("command", list(_COMMANDS))
def test_the_help_of_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The example's arguments are those of the command."""
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert re.search(r"^[A-Z].*\.$", text, re.MULTILINE)
    found = re.search(r"^example:\n +(dramatiq-bridge .*|eval .*)$", text, re.MULTILINE)
    assert found is not None
    example = re.sub(r'^eval "\$\((.*)\)"$', r"\1", found[1]).split(" > ")[0]
    program, *words = shlex.split(example)
    assert program == "dramatiq-bridge"
    assert command_line().parse_args(words).command == command
    codes = re.search(r"^exit codes: 0.*1 \(.*2 \(usage\).*78 \(.*\)", text, re.MULTILINE | re.DOTALL)
    assert codes is not None
