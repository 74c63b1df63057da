"""The parser of one command: a sentence, an example and the exit codes in its `--help`."""

from __future__ import annotations

import argparse
from typing import Any, Final

EXIT_CODES: Final = "exit codes: 0, 1 (failed), 2 (usage), 78 (mistakes in the configuration)"

Commands = Any


def add_command(commands: Commands, name: str, sentence: str, example: str, codes: str = EXIT_CODES) -> Any:
    """Add the parser of the command `name`."""
    return commands.add_parser(
        name,
        help=sentence,
        description=f"{sentence[0].upper()}{sentence[1:]}.",
        epilog=f"example:\n  {example}\n\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
