"""Each `--help` has a sentence, an example that works, and the exit codes."""

from __future__ import annotations

import re
import shlex

import pytest

from bridge import cli
from bridge.commands.arguments import command_line

_COMMANDS = next(action.choices for action in command_line()._actions if action.dest == "command")
assert _COMMANDS is not None


_ACTIONS = ("list", "show", "retry", "purge", "export")


@pytest.mark.parametrize("words", [*_COMMANDS, *(f"dead {action}" for action in _ACTIONS)])
def test_the_help_of_a_command(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The example's arguments are those of the command."""
    command, *action = words.split()
    with pytest.raises(SystemExit) as caught:
        cli.main([command, *action, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert re.search(r"^[A-Z].*\.$", text, re.MULTILINE)
    found = re.search(r"^example:\n +(dramatiq-bridge .*|eval .*)$", text, re.MULTILINE)
    assert found is not None
    example = re.sub(r'^eval "\$\((.*)\)"$', r"\1", found[1]).split(" > ")[0]
    program, *typed = shlex.split(example)
    assert program == "dramatiq-bridge"
    parsed = command_line().parse_args(typed)
    assert parsed.command == command
    assert not action or [parsed.action] == action
    codes = re.search(r"^exit codes: 0.*1 \(.*2 \(usage\).*78 \(.*\)", text, re.MULTILINE | re.DOTALL)
    assert codes is not None
