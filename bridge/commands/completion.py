"""`dramatiq-bridge completion SHELL`: the commands, their options, and names of files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Final

import shtab

from bridge.commands.arguments import command_line

#: The arguments that take a file, as `--help` shows them.
_FILES: Final = ("CONFIG", "FILE")


def main(arguments: argparse.Namespace) -> int:
    """Print the shell's program."""
    parser = command_line()
    for action in _actions(parser):
        if action.metavar in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined] # where shtab looks
    print(shtab.complete(parser, shell=arguments.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:  # noqa: SLF001 - argparse has no other list of them
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            for command in action.choices.values():
                yield from _actions(command)
