"""The demo's output: a line per event with the actor that it called, the steps of the demo, and a table at the end.

No line is wider than 80 columns. A terminal gets colours, anything else plain lines without escape codes. The layout does
not depend on the terminal's width: a narrow one folds the lines.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO, Any, Final

from rich.console import Console
from rich.text import Text

from bridge.config import Route
from bridge.demo import WIDTH
from bridge.demo.generator import Sent

_STYLES: Final = {"mqtt": "cyan", "pub/sub": "magenta", "stream": "yellow", "amqp": "bright_blue"}
#: The steps of the demo itself begin with it.
_NOTE: Final = "-- "
_TAG_WIDTH: Final = max(map(len, _STYLES))
#: An event takes so many columns; its end has the rest of the line, after the time, the protocol and the arrow.
_EVENT_WIDTH: Final = 35
_END_WIDTH: Final = WIDTH - len("00:00:00 ") - _TAG_WIDTH - 1 - _EVENT_WIDTH - len(" -> ")


@dataclass(frozen=True, slots=True)
class Row:
    """The number of a source's events at each stage; each ends as executed or as dead (a dead letter)."""

    sent: int
    received: int
    enqueued: int
    executed: int
    dead: int

    @property
    def equal(self) -> bool:
        """Whether no event was lost, and none was duplicated."""
        return self.sent == self.received == self.enqueued + self.dead == self.executed + self.dead


class Screen:
    """Writes the output to `file`."""

    def __init__(self, file: IO[str]) -> None:
        terminal = file.isatty()
        self._console = Console(
            file=file,
            force_terminal=terminal,
            color_system="auto" if terminal else None,
            legacy_windows=False,
            soft_wrap=True,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def explain(self, route: Route, seconds: float | None) -> None:
        """Explain the output, with `route` as the example."""
        end = "Ctrl-C ends it" if seconds is None else f"it ends after {seconds:g} s, or by Ctrl-C"
        args = ", ".join(map(str, route.args))
        self._print("Devices send events by MQTT, other programs by Redis or RabbitMQ. The bridge")
        self._print("makes of each a call of a Python function, which a worker of Dramatiq (a queue")
        self._print("of tasks) runs. One line is one event: time, protocol, topic, body -> its call.")
        self._print("The route of the alarms: ", (f"{route.topic}, when {route.when}", "bold"))
        self._print(" " * 21, "=> ", (f"{route.actor}({args})", "bold"))
        self.note(f"This is a demo with servers of its own; {end}.")

    def note(self, text: str, style: str = "dim") -> None:
        """Show a step of the demo itself."""
        for line in textwrap.wrap(text, WIDTH, initial_indent=_NOTE, subsequent_indent=" " * len(_NOTE)):
            self._print((line, style))

    def executed(self, event: Sent | None, actor: str, args: Sequence[Any]) -> None:
        """Show an event with the call that it became; without an event, a call that nobody asked for."""
        style = "bold red" if actor == "raise_alarm" else "bold green"
        call = f"{actor}({', '.join(map(json.dumps, args))})"
        if event is None:
            self.note(f"{_clock()} a call without an event -> {call}", "bold red")
        else:
            self._line(event, call, style)

    def waiting(self, event: Sent, reason: str) -> None:
        """Show an event whose actor has not run yet; it is shown again with its call."""
        self._line(event, reason, "dim")

    def dead(self, event: Sent, reason: str, error: str) -> None:
        """Show an event that became a dead letter, and why."""
        self._line(event, f"dead letter: {reason}", "bold red")
        self.note(f"why: {error}")

    def summary(self, rows: Mapping[str, Row]) -> None:
        """Show the table of numbers by source, with the total."""
        total = Row(*(sum(column) for column in zip(*map(astuple, rows.values()), strict=True)))
        self._print()
        self._print((f"{'':10}{'sent':>10}{'received':>10}{'enqueued':>10}{'executed':>10}{'dead':>10}", "bold"))
        for name, row in {**rows, "total": total}.items():
            style = "bold red" if not row.equal else "bold" if row is total else ""
            self._print((f"{name:10}" + "".join(f"{number:>10}" for number in astuple(row)), style))
        if all(row.equal for row in rows.values()):
            self._print(("equal: each event ran exactly once or is a dead letter; nothing was lost", "bold green"))

    def next_steps(self) -> None:
        """Show the commands to go on with."""
        program = _program()
        self._print(('next: write a bridge.yaml (README.md, "A first route"), then', "bold"))
        self._print((f"      {program} check bridge.yaml", "bold"))
        self._print((f"      {program} run bridge.yaml", "bold"))

    def _line(self, event: Sent, end: str, style: str) -> None:
        shown = _shorten(f"{event.topic} {event.body}", _EVENT_WIDTH)
        self._print(
            (f"{_clock()} ", "dim"),
            (event.protocol.ljust(_TAG_WIDTH), _STYLES[event.protocol]),
            f" {shown.ljust(_EVENT_WIDTH)} -> ",
            (_shorten(end, _END_WIDTH), style),
        )

    def _print(self, *parts: str | tuple[str, str]) -> None:
        self._console.print(Text.assemble(*parts))


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _program() -> str:
    """Return the shortest name by which a shell finds this command in the present directory."""
    own = Path(sys.executable).with_name("dramatiq-bridge")
    if shutil.which("dramatiq-bridge") is None and own.is_relative_to(Path.cwd()) and own.exists():
        return str(own.relative_to(Path.cwd()))
    return "dramatiq-bridge"


def _clock() -> str:
    return time.strftime("%H:%M:%S")
