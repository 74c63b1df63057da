"""The parsed file: plain values, where each of them stands, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bridge.config.diagnostics import Finding, Loc, where
from bridge.config.redaction import Lines
from bridge.config.substitution import Piece
from bridge.errors import Mistake

MAX_MISTAKES: Final = 100


@dataclass(frozen=True, slots=True)
class Span:
    """Where a key or a value stands: indices into the text, and how a scalar is quoted."""

    start: int
    end: int
    quote: str | None = None


class Document:
    """A parsed file: `value`, where everything stands, and the mistakes that were found."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.lines = Lines(text)
        #: False when the file could not be read to its end.
        self.complete = True
        self.clear()

    def clear(self) -> None:
        """Forget everything, to be filled anew."""
        self.value: object = None
        self.keys: dict[Loc, Span] = {}
        self.values: dict[Loc, Span] = {}
        self.refused: set[Loc] = set()
        #: The replaced references of each scalar, with the scalar as it stands in the file.
        self.substituted: dict[Loc, tuple[str, list[Piece]]] = {}
        self._found: dict[tuple[int, str, str], str] = {}

    @property
    def flawless(self) -> bool:
        """Whether no mistake has been found so far."""
        return not self._found

    def add(self, finding: Finding) -> None:
        """Place a mistake, unless what it is about has been refused already."""
        # A key can be wrong beside a refused value of its own.
        if any(finding.loc[:length] in self.refused for length in range(len(finding.loc) + (not finding.at_key))):
            return
        index = self.index(finding)
        problem, hint = self._without_secrets(finding.loc, finding.problem, finding.hint)
        self.add_at(index, finding.loc, problem, hint)

    def add_at(self, index: int, loc: Loc, problem: str, hint: str = "") -> None:
        """Place a mistake at a character of the file; the same one twice is one."""
        self._found.setdefault((index, where(loc), problem), hint)

    def index(self, finding: Finding) -> int:
        """Return the character that a finding is about, or the nearest thing around it."""
        loc = finding.loc
        if finding.at_key and loc in self.keys:
            return self.keys[loc].start
        while loc and loc not in self.values:
            loc = loc[:-1]
        span = self.values.get(loc)
        if span is None:
            return 0
        if loc == finding.loc:
            precise = finding.offset is not None and loc not in self.substituted
            return span.start + (self.raw_offset(span, finding.offset or 0) if precise else 0)
        return self.keys[loc].start if loc in self.keys else span.start

    def mistakes(self) -> list[Mistake]:
        """Return the mistakes in the order of the file."""
        found = []
        for (index, place, problem), hint in sorted(self._found.items())[:MAX_MISTAKES]:
            line, column = self.lines.position(index)
            found.append(Mistake(self.file, line, column, place, problem, hint, self.lines.show(line, column)))
        return found

    def raw_offset(self, span: Span, offset: int) -> int:
        """Translate an offset inside a value to one inside its text: past the quote and its escapes."""
        text = self.text[span.start : span.end]
        if "\n" in text or span.quote in {"|", ">"}:
            return 0
        if span.quote not in {"'", '"'}:
            return min(offset, max(len(text) - 1, 0))
        position = 1
        for _ in range(offset):
            if span.quote == "'":
                position += 2 if text.startswith("''", position) else 1
            elif text.startswith("\\", position):
                position += 2 + {"x": 2, "u": 4, "U": 8}.get(text[position + 1 : position + 2], 0)
            else:
                position += 1
        return min(position, len(text) - 1)

    def _without_secrets(self, loc: Loc, *texts: str) -> Iterator[str]:
        pieces = self.substituted.get(loc, ("", []))[1]
        for text in texts:
            shown = text
            if pieces:
                # Whatever is quoted may be part of the secret; longer pieces may stand unquoted.
                shown = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "'***'", shown)
                for piece in pieces:
                    shown = shown.replace(piece.value, "***") if len(piece.value) > 3 else shown
            yield shown
