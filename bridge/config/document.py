"""The parsed file: plain values, where each of them stands, and the mistakes that were found in them."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from bridge.config.redaction import RedactedSource
from bridge.config.substitution import Piece, Substituted, refilled
from bridge.config.wording import spell_path
from bridge.errors import Diagnostic, KeyPath, LocatedDiagnostic

MAX_DIAGNOSTICS: Final = 100
#: With so many mistakes the rest of a file is not read, nor checked.
MAX_MISTAKES: Final = 1000


class Invalid:
    """The type of INVALID."""


#: Stands for a value that was refused while the YAML was read, so that no later check complains about it again.
INVALID: Final = Invalid()


class Span(NamedTuple):
    """The place of a key or a value: indices into the text, and the quote of a scalar."""

    start: int
    end: int
    quote: str | None = None


def _offset_in_lines(text: str, offset: int, *, is_block: bool) -> int:
    """Translate an offset inside the value of a scalar of several lines, each of which is one of the value.

    Return 0, the beginning, where a line does not stand for itself: an empty one may stand for a line break or for nothing.
    """
    lines = text.splitlines(keepends=True)
    at = len(lines.pop(0)) if is_block else 0
    indent = next((len(line) - len(line.lstrip()) for line in lines if line.strip()), 0)
    for line in lines:
        content = line[indent:].rstrip("\r\n") if is_block else line.strip()
        start = at + (indent if is_block else len(line) - len(line.lstrip()))
        if not content:
            return 0
        if offset <= len(content):
            return start + offset
        offset -= len(content) + 1
        at += len(line)
    return 0


class Position(NamedTuple):
    """A character of a file; line and column count from 1."""

    file: str
    line: int
    column: int


class Part(NamedTuple):
    """One of the files of a configuration, and where its text begins in that of the whole."""

    start: int
    file: str
    source: RedactedSource


class Document:
    """A parsed file: `value`, where everything stands, and the mistakes that were found.

    With the files that it includes it is a whole: the text is that of all files, one after another, and so are the
    spans in it.
    """

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        #: In the order of their texts, beginning with the file itself.
        self.parts = [Part(0, file, RedactedSource(text))]
        #: False when the file could not be read to its end.
        self.complete = True
        #: Of the files that this one names: those of tables and schemas.
        self.digests: list[bytes] = []
        self.clear()

    def clear(self) -> None:
        """Forget everything, to be filled again."""
        self.value: object = None
        self.keys: dict[KeyPath, Span] = {}
        self.values: dict[KeyPath, Span] = {}
        self.refused: set[KeyPath] = set()
        #: The replaced references of each scalar, with the scalar as it stands in the file.
        self.substituted: dict[KeyPath, tuple[str, list[Piece]]] = {}
        #: Where a file has what stands at a path of the whole, if not there: the first steps of both paths.
        self.written: dict[KeyPath, KeyPath] = {}
        #: The hint of each mistake, by its index into the text, its spelled path and its message.
        self.hints: dict[tuple[int, str, str], str] = {}
        self._elsewhere: list[LocatedDiagnostic] = []

    @property
    def source(self) -> RedactedSource:
        """The text of the file itself, by lines."""
        return self.parts[0].source

    def nest(self, key: str) -> None:
        """Put the whole value below a key that is not in the file; the places of everything stay."""
        self.value = {key: self.value}
        self.keys = {(key, *path): span for path, span in self.keys.items()}
        self.values = {(key, *path): span for path, span in self.values.items()}
        self.refused = {(key, *path) for path in self.refused}
        self.substituted = {(key, *path): found for path, found in self.substituted.items()}
        self.hints = {(index, f"{key}{where}", message): hint for (index, where, message), hint in self.hints.items()}

    @property
    def flawless(self) -> bool:
        """Whether no mistake has been found so far."""
        return not self.hints and not self._elsewhere

    @property
    def is_hopeless(self) -> bool:
        """Whether so many mistakes have been found that nobody reads more."""
        return len(self.hints) >= MAX_MISTAKES

    def add(self, diagnostic: Diagnostic) -> None:
        """Place a mistake, unless the value that it is about, or one around it, was refused already."""
        path = diagnostic.path
        # A key can be wrong beside its own refused value.
        if any(path[:length] in self.refused for length in range(len(path) + (not diagnostic.at_key))):
            return
        message, hint = self._without_secrets(diagnostic)
        self.add_at(self._index(diagnostic), path, message, hint)

    def add_at(self, index: int, path: KeyPath, message: str, hint: str = "") -> None:
        """Place a mistake at a character of the file; the same mistake at the same place is added once."""
        self.hints.setdefault((index, spell_path(self.path_in_file(path)), message), hint)

    def add_elsewhere(self, diagnostic: LocatedDiagnostic) -> None:
        """Add a mistake in a file that this one names."""
        self._elsewhere.append(diagnostic)

    def diagnostics(self) -> list[LocatedDiagnostic]:
        """Return the mistakes in the order of the file, then those in the files that it names."""
        located = []
        for (index, where, message), hint in sorted(self.hints.items())[:MAX_DIAGNOSTICS]:
            part = self._part(index)
            line, column = part.source.position(index - part.start)
            shown = part.source.show(line, column)
            located.append(LocatedDiagnostic(part.file, line, column, where, message, hint, shown))
        return [*located, *self._elsewhere][:MAX_DIAGNOSTICS]

    def path_in_file(self, path: KeyPath) -> KeyPath:
        """Return the path in its own file of the key or value at a path of the whole."""
        # An item of a list that several files add to, or a key of a source that has it from `defaults`.
        for length in (2, 3):
            if (written := self.written.get(path[:length])) is not None:
                return (*written, *path[length:])
        return path

    def other_place(self, path: KeyPath, seen_from: KeyPath) -> str:
        """Return `routes[0]` in words: with its file and line, if the value at `seen_from` stands in another file."""
        words, there = spell_path(self.path_in_file(path)), self.position(path)
        return words if there.file == self.position(seen_from).file else f"{words} ({there.file}:{there.line})"

    def is_unset(self, path: KeyPath) -> bool:
        """Tell whether the value at `path` holds a reference that has no value on this machine."""
        return any(piece.unset for piece in self.substituted.get(path, ("", []))[1])

    def refill(self, placeholders: Mapping[KeyPath, str]) -> bool:
        """Put a placeholder into the unset references of the value at each path; return whether there is one."""
        found = False
        for path, placeholder in placeholders.items():
            if self.is_unset(path):
                found = True
                text, pieces = self.substituted[path]
                inside: Any = self.value
                for step in path[:-1]:
                    inside = inside[step]
                inside[path[-1]] = Substituted(refilled(text, pieces, placeholder))
        return found

    def unset(self, path: KeyPath) -> list[LocatedDiagnostic]:
        """Return a mistake for each reference without a value in the part of the file at `path`."""
        for place, (text, pieces) in self.substituted.items():
            for piece in pieces:
                if piece.unset and place[: len(path)] == path:
                    reference = text[piece.start : piece.end]
                    self.add_at(self.values[place].start, place, f"{reference} has no value here", "set it")
        return self.diagnostics()

    def place(self, diagnostic: Diagnostic) -> Position:
        """Return the position of the key or value that a diagnostic is about, or of the nearest one around it."""
        return self._position(self._index(diagnostic))

    def position(self, path: KeyPath) -> Position:
        """Return the position at which the value at `path` begins."""
        return self._position(self.values[path].start)

    def _position(self, index: int) -> Position:
        part = self._part(index)
        return Position(part.file, *part.source.position(index - part.start))

    def _part(self, index: int) -> Part:
        """Return the file that a character of the whole belongs to."""
        return self.parts[bisect.bisect_right(self.parts, index, key=lambda part: part.start) - 1]

    def _index(self, diagnostic: Diagnostic) -> int:
        """Return the character that a diagnostic is about, or the nearest key or value around it."""
        path = diagnostic.path
        if diagnostic.at_key and path in self.keys:
            return self.keys[path].start
        while path and path not in self.values:
            path = path[:-1]
        span = self.values.get(path)
        if span is None:
            return 0
        if path != diagnostic.path:
            return self.keys[path].start if path in self.keys else span.start
        if diagnostic.offset is None or path in self.substituted:
            return span.start
        return span.start + self.raw_offset(span, diagnostic.offset)

    def raw_offset(self, span: Span, offset: int) -> int:
        """Translate an offset inside a value to one inside its text: past the quote and its escapes."""
        text = self.text[span.start : span.end]
        if span.quote in {"|", ">"} or ("\n" in text and span.quote is None):
            return _offset_in_lines(text, offset, is_block=span.quote is not None)
        if "\n" in text:
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

    def _without_secrets(self, diagnostic: Diagnostic) -> Iterator[str]:
        pieces = self.substituted.get(diagnostic.path, ("", []))[1]
        for text in (diagnostic.message, diagnostic.hint):
            shown = text
            if pieces:
                # Quoted text may be part of the secret, but for that about a key; longer pieces may stand unquoted.
                if not diagnostic.at_key:
                    shown = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "'***'", shown)
                for piece in pieces:
                    shown = shown.replace(piece.value, "***") if len(piece.value) > 3 else shown
            yield shown
