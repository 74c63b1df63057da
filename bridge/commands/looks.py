"""What `check --connect` prints of its looks: each finding under its source, with its place in the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bridge.commands.paint import Paint
from bridge.config import Config
from bridge.config.document import Document, Position
from bridge.errors import Diagnostic, KeyPath
from bridge.model.findings import Finding, Findings, Kind
from bridge.observe.log_fields import cut, escape
from bridge.observe.masking import masked
from bridge.preflight.looks import SINK, look_everywhere

__all__ = ["SINK", "Looks", "look"]

_COLORS: Final[Mapping[Kind, str]] = {"problem": "red", "note": "yellow", "unseen": "dim"}
#: Of a finding, in characters: a server may say megabytes.
_MAX_TEXT: Final = 4000


@dataclass(frozen=True, slots=True)
class Looks:
    """The findings of one file, by the names of its sources, and of SINK."""

    document: Document
    found: Mapping[str, Findings]

    @property
    def problems(self) -> int:
        """With how many things that were seen the bridge can't work."""
        return sum(finding.kind == "problem" for found in self.found.values() for finding in found.found)

    def lines(self, name: str, paint: Paint) -> Iterator[str]:
        """Yield the lines about a source."""
        for finding in self.found[name].found:
            if finding.kind == "ok":
                yield finding.text
                continue
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            place = ""
            if finding.kind != "unseen":
                place = "{}:{}:{}: ".format(*self._place(name, finding))
            yield f"{place}{paint(finding.kind, _COLORS[finding.kind])}: {finding.text}{remedy}"

    def as_json(self) -> list[dict[str, Any]]:
        """Return each finding as JSON."""
        return [self._json(name, finding) for name, found in self.found.items() for finding in found.found]

    def _json(self, name: str, finding: Finding) -> dict[str, Any]:
        place = self._place(name, finding)
        return {
            "source": None if name == SINK else name,
            "kind": finding.kind,
            "text": finding.text,
            "remedy": finding.remedy,
            "file": place.file,
            "line": place.line,
            "column": place.column,
        }

    def _place(self, name: str, finding: Finding) -> Position:
        path: KeyPath = ("dramatiq",) if name == SINK else ("sources", name)
        if (*path, *finding.path) not in self.document.values:
            # Such as a user's name that stands in the URL.
            return self.document.place(Diagnostic((*path, "url"), ""))
        return self.document.place(Diagnostic((*path, *finding.path), ""))


def look(document: Document, config: Config) -> Looks:
    """Look at Redis and at the brokers of a file; no secret of it is in the findings."""
    secrets = config.secrets()

    def safe(text: str) -> str:
        return escape(cut(masked(text, secrets), _MAX_TEXT))

    return Looks(
        document,
        {
            name: Findings(
                [
                    Finding(finding.kind, safe(finding.text), safe(finding.remedy), finding.path)
                    for finding in found.found
                ]
            )
            for name, found in look_everywhere(config).items()
        },
    )
