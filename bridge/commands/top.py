"""`top`: a running bridge, again and again, by source and by route."""

from __future__ import annotations

import argparse
import io
import os
import sys
import threading
import time
from importlib.util import find_spec
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from bridge.commands.admin_client import AdminClient
from bridge.commands.daemon import find_daemon
from bridge.commands.keyboard import Keyboard, Wakings
from bridge.commands.paint import Paint
from bridge.commands.rates import Look, look
from bridge.commands.top_view import View
from bridge.errors import BridgeError, UsageError, describe_error

if TYPE_CHECKING:
    from rich.console import Console

#: In columns; a script's lines are not cut.
_ENDLESS: Final = 1_000
#: Of a terminal that does not know its size.
_COLUMNS: Final = 80
_LINES: Final = 24
#: The display is drawn anew after this time also without a look: it says how old its numbers are.
_DRAW_S: Final = 1.0


def main(arguments: argparse.Namespace) -> int:
    """Show the bridge until `q` or a signal; with `--once` print one table.

    Raises:
        BridgeError: the bridge can't be reached at the start, or rich is missing.
        UsageError: there is no terminal.
    """
    if find_spec("rich") is None:
        raise BridgeError("top needs rich: pip install '.[top]' in a checkout, or pip install rich")
    if not arguments.once and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("top needs a terminal; --once prints one table without one")
    if not arguments.once and os.environ.get("TERM", "") in {"", "dumb", "unknown"}:
        raise UsageError(
            f"top can't draw on this terminal (TERM={os.environ.get('TERM', '')}); --once prints one table on any"
        )
    daemon = find_daemon(arguments)
    view = View(arguments.sort, arguments.filter)
    view.take(look(daemon))
    console = _console(arguments.color)
    if arguments.once:
        _print_once(daemon, view, console, arguments.interval)
        return 0
    try:
        return _watch(daemon, view, console, arguments.interval)
    except OSError as error:
        raise BridgeError(f"the terminal is gone: {describe_error(error)}") from None


def _console(when: str) -> Console:
    from rich.console import Console  # noqa: PLC0415 - it is an extra

    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that is not UTF-8 shows a question mark.
        sys.stdout.reconfigure(errors="replace")
    terminal, colors = sys.stdout.isatty(), Paint(when).is_on
    return Console(
        file=sys.stdout,
        force_terminal=terminal or colors,
        color_system="standard" if colors else None,
        no_color=not colors,
        legacy_windows=False,
        markup=False,
        emoji=False,
        highlight=False,
        width=None if terminal else _ENDLESS,
    )


def _print_once(daemon: AdminClient, view: View, console: Console, interval_s: float) -> None:
    from bridge.commands.top_screen import picture  # noqa: PLC0415 - it needs rich

    time.sleep(interval_s)
    view.take(look(daemon))
    console.print(picture(view, str(daemon.address), console.width, None))


def _watch(daemon: AdminClient, view: View, console: Console, interval_s: float) -> int:
    """Draw until `q` or a signal; return the exit code. The terminal is as before, however it ends."""
    from rich.console import ConsoleDimensions  # noqa: PLC0415 - it is an extra
    from rich.live import Live  # noqa: PLC0415 - it is an extra

    from bridge.commands.top_screen import picture  # noqa: PLC0415 - it needs rich

    looks: SimpleQueue[Look | Exception] = SimpleQueue()
    with Wakings() as wakings, Keyboard(sys.stdin.fileno()) as keyboard:
        # A thread, for a bridge that hangs must not keep the keys waiting. It ends with the process.
        asking = threading.Thread(target=_ask, args=(daemon, looks, wakings, interval_s), name="top:ask", daemon=True)
        with Live(
            console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        ) as live:
            asking.start()
            while wakings.ended is None and not view.ended:
                # COLUMNS and LINES of the environment do not follow the terminal; rich takes them first.
                width, height = os.get_terminal_size(sys.stdout.fileno())
                console.size = ConsoleDimensions(width or _COLUMNS, height or _LINES)
                live.update(picture(view, str(daemon.address), console.width, console.height), refresh=True)
                keys = wakings.wait(keyboard, _DRAW_S)
                if keys is None:
                    return 1
                for key in keys:
                    view.press(key)
                _take_all(looks, view)
    return 0 if wakings.ended is None else 128 + wakings.ended


def _ask(daemon: AdminClient, looks: SimpleQueue[Look | Exception], wakings: Wakings, interval_s: float) -> None:
    while True:
        time.sleep(interval_s)
        try:
            looks.put(look(daemon))
        except Exception as error:  # noqa: BLE001 - the loop raises it again, unless it is the bridge's absence
            looks.put(error)
        wakings.wake()


def _take_all(looks: SimpleQueue[Look | Exception], view: View) -> None:
    while not looks.empty():
        answer = looks.get()
        if isinstance(answer, Exception) and not isinstance(answer, BridgeError):
            raise answer
        view.take(answer)
