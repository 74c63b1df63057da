"""The command line: `dramatiq-bridge COMMAND ...`.

Exit codes: 0, 1 (failed), 2 (usage), 78 (the configuration is wrong; EX_CONFIG of sysexits.h).
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from bridge.commands.arguments import command_line
from bridge.errors import BridgeError, ConfigError, UsageError
from bridge.garbage import without_collector
from bridge.observe.log_fields import escape

EX_USAGE: Final = 2
EX_CONFIG: Final = 78


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names; return the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        with suppress(OSError):  # a file that was exchanged for a pipe
            sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may be ASCII only
    arguments = command_line().parse_args(argv)
    # Imported only here: `--help` and `schema` do not load the libraries of every protocol. Modules stay, and to walk
    # through them again and again while they come takes the collector an eighth of the start.
    with without_collector():
        command = importlib.import_module(f"bridge.commands.{arguments.command}")
    try:
        code = int(command.main(arguments))
        if sys.stdout is not None:  # None where the shell has closed it
            sys.stdout.flush()  # inside the try: a closed pipe must not end in a traceback
    except ConfigError as error:
        print(error, file=sys.stderr)
        count = len(error.diagnostics)
        print(f"dramatiq-bridge: {count} mistake{'s' if count != 1 else ''} in the configuration", file=sys.stderr)
        return EX_CONFIG
    except UsageError as error:
        print(f"dramatiq-bridge: {escape(str(error))}", file=sys.stderr)
        return EX_USAGE
    except BridgeError as error:
        # Perhaps in a server's words.
        print(f"dramatiq-bridge: {escape(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `dramatiq-bridge schema | head`
        _discard_output()
        return 1
    except OSError as error:
        if arguments.command == "run" or not _is_output_full(error):
            raise
        _discard_output()
        print("dramatiq-bridge: the output is not whole: its disk is full", file=sys.stderr)
        return 1
    return code


def _is_output_full(error: OSError) -> bool:
    # A write to a file that a command has opened by itself says its name.
    return error.errno in {errno.ENOSPC, errno.EDQUOT} and error.filename is None


def _discard_output() -> None:
    """Let the interpreter's last flush of standard output fail no more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
