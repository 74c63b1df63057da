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
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run the bridge until SIGTERM or SIGINT")
    run.add_argument("config", metavar="CONFIG")
    run.add_argument("--log-format", choices=("json", "console"), help="console on a terminal, JSON lines otherwise")
    run.add_argument("--log-level", choices=("debug", "info", "warning", "error"))

    check = commands.add_parser("check", help="check a configuration; connects to nothing")
    check.add_argument("config", metavar="CONFIG")

    route = commands.add_parser("route", help="show what the routes make of one event; connects to nothing")
    route.add_argument("config", metavar="CONFIG")
    route.add_argument("--from", dest="source", required=True, metavar="SOURCE", help="the source's name")
    route.add_argument("--topic", default="", help="MQTT topic, AMQP routing key, Redis channel or stream")
    route.add_argument(
        "--payload", default="null", metavar="BODY", help="the event's body, as the source would bring it"
    )
    route.add_argument("--header", action="append", default=[], metavar="NAME=VALUE")
    route.add_argument("--meta", action="append", default=[], metavar="NAME=VALUE", help="such as retain=true")
    route.add_argument("--json", action="store_true", help="print JSON")

    send = commands.add_parser("send", help="send one message to an actor, from a shell or a cron job")
    send.add_argument("actor", metavar="ACTOR")
    send.add_argument("args", nargs="*", metavar="ARG", help="JSON where it parses, otherwise text")
    send.add_argument("--kwarg", action="append", default=[], metavar="NAME=VALUE")
    send.add_argument("--queue", default="default")
    send.add_argument("--delay", metavar="DURATION", help="such as 10s")
    target = send.add_mutually_exclusive_group()
    target.add_argument(
        "--redis",
        metavar="URL",
        help="redis://localhost:6379/0 if neither is given; '${NAME}' in it keeps a password out of the process list",
    )
    target.add_argument("--config", metavar="CONFIG", help="take `dramatiq:` from this file")
    send.add_argument("--namespace", default="dramatiq", help="with --redis")

    commands.add_parser("schema", help="print the configuration's JSON Schema, for editors")

    demo = commands.add_parser("demo", help="run everything in miniature: brokers, bridge, worker, events")
    demo.add_argument("--seconds", type=float, help="stop after this long; otherwise Ctrl-C does")
    return parser
