"""What a look at a broker before the start has found: `check --connect`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from bridge.errors import KeyPath

#: `ok`: it was seen, and is well. `problem`: the bridge can't work so. `note`: it works, with less than the file may promise.
#: `unseen`: the protocol does not show it, or this server does not tell.
Kind = Literal["ok", "problem", "note", "unseen"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `path` leads from the source, or from `dramatiq`, to the value that it is about."""

    kind: Kind
    text: str
    remedy: str = ""
    path: KeyPath = ()


@dataclass(slots=True)
class Findings:
    """The findings of one look, in their order; a look that is cut short keeps those before."""

    found: list[Finding] = field(default_factory=list)

    def ok(self, text: str) -> None:
        """Add something that is well."""
        self.found.append(Finding("ok", text))

    def problem(self, text: str, remedy: str = "", *path: str | int) -> None:
        """Add a reason why the bridge can't work, and what to do."""
        self._add(Finding("problem", text, remedy, path))

    def note(self, text: str, remedy: str = "", *path: str | int) -> None:
        """Add something that the bridge works with, and that may not be meant."""
        self._add(Finding("note", text, remedy, path))

    def unseen(self, text: str) -> None:
        """Add something that nobody can see before the start."""
        self.found.append(Finding("unseen", text))

    def _add(self, finding: Finding) -> None:
        if finding not in self.found:  # as where each of several commands meets the same refusal
            self.found.append(finding)


def counted(number: object, one: str, many: str = "") -> str:
    """Return a number with its word, as in "1 entry", "2 entries"."""
    return f"{number} {one if number == 1 else many or one + 's'}"
