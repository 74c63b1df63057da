"""`pause NAME` and `resume NAME`: a source that does not read, or a route whose events wait."""

from __future__ import annotations

import argparse

from bridge.commands.condition import plain
from bridge.commands.daemon import find_daemon
from bridge.errors import UsageError
from bridge.model.control import PausedKind

#: The meaning of a pause, for the person that has given the order.
_MEANING: dict[PausedKind, str] = {
    "source": "it finishes the events that it has received, and does not connect until it is resumed",
    "route": "the first batch with a message of it waits, and so does its source behind it",
}


def main(arguments: argparse.Namespace) -> int:
    """Pause it, and print the result in one line.

    Raises:
        BridgeError: the bridge can't be reached, or refuses it.
        UsageError: nothing can have this name.
    """
    return steer(arguments, paused=True)


def steer(arguments: argparse.Namespace, *, paused: bool) -> int:
    """Pause or resume the source or route that the arguments name; errors as `main` has."""
    try:
        arguments.name.encode()
    except UnicodeEncodeError:
        raise UsageError("NAME is not UTF-8 text") from None
    if not arguments.name:
        raise UsageError("NAME is empty")
    answer = find_daemon(arguments, changes=True).pause(arguments.name, paused=paused)
    name = f"{answer.kind} {plain(answer.name)}"
    print(f"{name} is paused: {_MEANING[answer.kind]}" if paused else f"{name} is not paused any more")
    return 0
