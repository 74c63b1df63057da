"""The demo's output: a line per published event and per executed actor, and a table at the end.

A terminal gets colours, anything else plain lines without escape codes. The layout does not depend
on the terminal's width: a narrow one folds the lines.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import IO, Any, Final

from rich.console import Console
from rich.text import Text

from bridge.config import Route
from bridge.demo.generator import Sent

_STYLES: Final = {"mqtt": "cyan", "pub/sub": "magenta", "stream": "yellow"}
_TAG_WIDTH: Final = max(map(len, _STYLES))


@dataclass(frozen=True, slots=True)
class Row:
    """The number of a source's events at each stage."""

    sent: int
    received: int
    enqueued: int
    executed: int

    @property
    def equal(self) -> bool:
        """Whether all four numbers are equal: no event was lost, none was duplicated."""
        return len(set(astuple(self))) == 1


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
        """Explain the output in three lines, with `route` as the example."""
        end = "Ctrl-C ends it" if seconds is None else f"it ends after {seconds:g} s, or by Ctrl-C"
        self._print(
            "Events go in by MQTT, Redis pub/sub and a Redis stream; the bridge makes of each a Dramatiq message."
        )
        self._print(f"A line with -> is a real Dramatiq worker running the message's actor; {end}.")
        args = ", ".join(map(str, route.args))
        self._print("The route of the alarms: ", (f"{route.topic}, when {route.when} -> {route.actor}({args})", "bold"))

    def note(self, text: str) -> None:
        """Show a step of the demo itself."""
        self._print((text, "dim"))

    def event(self, event: Sent) -> None:
        """Show a published event."""
        tag = event.protocol.ljust(_TAG_WIDTH)
        self._print((f"{_clock()}  ", "dim"), (tag, _STYLES[event.protocol]), f"  {event.topic} {event.body}")

    def execution(self, actor: str, args: Sequence[Any], kwargs: Mapping[str, Any], effect: str) -> None:
        """Show an executed actor, its arguments and the effect that it reported."""
        shown_args = [json.dumps(value) for value in args]
        shown_args += [f"{key}={json.dumps(value)}" for key, value in kwargs.items()]
        style = "bold red" if actor == "raise_alarm" else "bold green"
        arrow = "->".rjust(_TAG_WIDTH)
        self._print(
            (f"{_clock()}  ", "dim"),
            f"{arrow}  ",
            (actor, style),
            f"({', '.join(shown_args)})",
            (f"  {effect}", "dim"),
        )

    def summary(self, rows: Mapping[str, Row]) -> None:
        """Show the table of numbers by source, with the total."""
        total = Row(*(sum(column) for column in zip(*map(astuple, rows.values()), strict=True)))
        self._print()
        self._print((f"{'':10}{'sent':>10}{'received':>10}{'enqueued':>10}{'executed':>10}", "bold"))
        for name, row in {**rows, "total": total}.items():
            style = "bold red" if not row.equal else "bold" if row is total else ""
            self._print((f"{name:10}" + "".join(f"{number:>10}" for number in astuple(row)), style))
        if all(row.equal for row in rows.values()):
            self._print(("equal: each event became one message, and each message ran once", "bold green"))

    def _print(self, *parts: str | tuple[str, str]) -> None:
        self._console.print(Text.assemble(*parts))


def _clock() -> str:
    return time.strftime("%H:%M:%S")
