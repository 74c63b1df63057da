"""The command line: `dramatiq-bridge COMMAND ...`.

Exit codes: 0, 1 (failed), 2 (usage), 78 (the configuration is wrong; EX_CONFIG of sysexits.h).
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

import bridge
from bridge.commands.arguments import add_commands
from bridge.errors import BridgeError, ConfigError, UsageError
from bridge.garbage import without_collector
from bridge.observe.log_fields import escape

EX_USAGE: Final = 2
EX_CONFIG: Final = 78


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names; return the exit code."""
    arguments = _parser().parse_args(argv)
    # Imported only here: `--help` and `schema` do not load the libraries of every protocol. Modules stay, and to walk
    # through them again and again while they come takes the collector an eighth of the start.
    with without_collector():
        command = importlib.import_module(f"bridge.commands.{arguments.command}")
    try:
        code = int(command.main(arguments))
        sys.stdout.flush()  # inside the try: a closed pipe must not end in a traceback
    except ConfigError as error:
        print(error, file=sys.stderr)
        count = len(error.diagnostics)
        print(f"dramatiq-bridge: {count} mistake{'s' if count != 1 else ''} in the configuration", file=sys.stderr)
        return EX_CONFIG
    except UsageError as error:
        print(f"dramatiq-bridge: {error}", file=sys.stderr)
        return EX_USAGE
    except BridgeError as error:
        # Perhaps in a server's words.
        print(f"dramatiq-bridge: {escape(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `dramatiq-bridge schema | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # An argument that is not understood may be a URL, and standard error a log.
        from bridge.config import redacted_url  # noqa: PLC0415 - see `main`

        super().error(" ".join(map(redacted_url, message.split(" "))))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="dramatiq-bridge", description="Events from AMQP, MQTT and Redis become Dramatiq messages in Redis."
    )
    parser.add_argument("--version", action="version", version=f"dramatiq-bridge {bridge.__version__}")
    add_commands(parser.add_subparsers(dest="command", required=True, metavar="COMMAND"))
    return parser
