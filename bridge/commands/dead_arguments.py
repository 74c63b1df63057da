"""The arguments of `dead` and of its commands."""

from __future__ import annotations

import argparse
from typing import Any, Final

from bridge.commands.parsers import Commands, add_command

_RETRY_CODES: Final = (
    "exit codes: 0 (all were retried), 1 (not all), 2 (usage), 78 (mistakes in the configuration), 130 (interrupted)"
)


_CODES: Final = "exit codes: 0, 1 (failed), 2 (usage), 78 (mistakes in the configuration), 130 (interrupted)"


def add_dead(commands: Commands) -> None:
    """Add `dead`."""
    sentence = "show, retry, purge and export dead letters: the bridge's own, and with --workers those of Dramatiq"
    dead = add_command(
        commands, "dead", sentence, "dramatiq-bridge dead list --config bridge.yaml --reason decode", _CODES
    )
    actions = dead.add_subparsers(dest="action", required=True, metavar="ACTION")
    for add in (_list, _show, _retry, _purge, _export):
        add(actions)


def _list(actions: Commands) -> None:
    example = "dramatiq-bridge dead list --config bridge.yaml --source plant --newer 1h --text oven"
    parser = add_command(actions, "list", "list the newest dead letters", example)
    _place(parser)
    _filters(parser)
    parser.add_argument("--limit", type=_count, default=20, metavar="N", help="at most so many; 20")
    parser.add_argument("--json", action="store_true", help="print JSON, a line for each")


def _show(actions: Commands) -> None:
    example = "dramatiq-bridge dead show 1795759200000-0 --config bridge.yaml --as-test"
    parser = add_command(actions, "show", "show a dead letter: its event, the reason, the place in the route", example)
    parser.add_argument("id", metavar="ID", help="as `list` shows it")
    _place(parser)
    parser.add_argument("--as-test", action="store_true", help="print it as an item of `tests:`, by today's routes")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _retry(actions: Commands) -> None:
    sentence = (
        "retry dead letters through the route that failed, as it is today; each one goes once its messages are written"
    )
    example = "dramatiq-bridge dead retry --all --config bridge.yaml --reason missing-field"
    parser = add_command(actions, "retry", sentence, example, _RETRY_CODES)
    _chosen(parser)
    through = parser.add_mutually_exclusive_group()
    through.add_argument(
        "--as-is",
        action="store_true",
        help="through all routes, as though the event came again; with --workers: the message unchanged",
    )
    through.add_argument(
        "--through",
        metavar="ROUTE",
        help="through this route, instead of the one that failed; with IDs --route says the same",
    )


def _purge(actions: Commands) -> None:
    example = "dramatiq-bridge dead purge --config bridge.yaml --older 7d --yes"
    parser = add_command(actions, "purge", "delete dead letters for good", example, _CODES)
    _chosen(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask; without a terminal it is required")


def _export(actions: Commands) -> None:
    sentence = "print whole dead letters as JSON, a line for each, the oldest first"
    parser = add_command(
        actions, "export", sentence, "dramatiq-bridge dead export --config bridge.yaml > letters.jsonl"
    )
    _place(parser)
    _filters(parser)


def _place(parser: Any) -> None:
    """Add the arguments by which the letters are found."""
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--config", metavar="CONFIG", help="the letters of this bridge, by its `dramatiq:`")
    target.add_argument(
        "--redis", metavar="URL", help="redis://localhost:6379/0 if neither is given; '${NAME}' as in `send`"
    )
    parser.add_argument("--namespace", default="dramatiq", help="with --redis")
    parser.add_argument(
        "--workers", action="store_true", help="the messages that Dramatiq's workers have given up: QUEUE.XQ"
    )
    parser.add_argument("--queue", metavar="QUEUE", help="with --workers: of this queue alone")


def _filters(parser: Any) -> None:
    parser.add_argument("--source", metavar="NAME", help="of this source")
    parser.add_argument("--route", metavar="NAME", help="of this route")
    parser.add_argument("--reason", metavar="REASON", help="with this reason, such as missing-field")
    parser.add_argument("--older", type=_duration, metavar="DURATION", help="dead for longer than this, such as 1h")
    parser.add_argument("--newer", type=_duration, metavar="DURATION", help="dead for less than this")
    parser.add_argument("--text", metavar="TEXT", help="with this in its topic, error, body, headers or meta")


def _chosen(parser: Any) -> None:
    parser.add_argument("ids", nargs="*", metavar="ID", help="as `list` shows them")
    parser.add_argument("--all", action="store_true", help="all letters; filters alone choose some of them")
    _place(parser)
    _filters(parser)


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > 8 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"takes a number from 1, not {text[:40]!r}")
    return int(text)


def _duration(text: str) -> int:
    from bridge.config import parse_duration  # noqa: PLC0415 - `--help` loads none of it

    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
