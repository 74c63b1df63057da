"""`include:`: a configuration and the files that it includes become one document; each place in it names its own file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bridge.config.document import INVALID, Document, Part
from bridge.config.files import UnreadableFile, base_directory, named, read_file, whole
from bridge.config.patterns import MAX_FILES, check_pattern, find_files
from bridge.config.reader import MAX_BYTES, MAX_VALUES, parse
from bridge.config.relocation import relocate
from bridge.config.substitution import Substitution
from bridge.config.units import spell_size
from bridge.config.wording import describe, listed, quoted
from bridge.errors import Diagnostic, InvalidValue, KeyPath

#: Of all included files together.
MAX_INCLUDED_BYTES: Final = 4 << 20
#: The sections of an included file, and those that are lists, which are appended; mappings are joined.
_SECTIONS: Final = ("routes", "sources", "tables", "tests")
_LISTS: Final = ("routes", "tests")


def include(document: Document, substitution: Substitution) -> None:
    """Add the files of `include:` to a document. A file that can't be used is a mistake in it, and ends the loading."""
    value = document.value
    if not document.complete or not isinstance(value, dict) or "include" not in value:
        return
    mistakes = list(_mistakes(document, value["include"]))
    #: By its real path each file that is found, once, with the number of its pattern.
    found: dict[str, tuple[int, str]] = {}
    for index, pattern in enumerate([] if mistakes else value["include"]):
        try:
            fitting = find_files(base_directory(document.file), pattern)
        except UnreadableFile as error:
            mistakes.append(Diagnostic(("include", index), f"this pattern {error}"))
            continue
        files = _own_parts(fitting, document, found)
        if not files:
            mistakes.append(Diagnostic(("include", index), *_nothing_found(pattern, fitting, document)))
        for file in files:
            found.setdefault(os.path.realpath(file), (index, file))
    if len(found) > MAX_FILES:
        mistakes.append(Diagnostic(("include",), f"more than {MAX_FILES:,} files are found"))
    if not mistakes:
        mistakes += _add_files(document, list(found.values()), substitution)
    for mistake in mistakes:
        document.add(mistake)
    if mistakes:
        document.complete = False


def _mistakes(document: Document, patterns: object) -> Iterator[Diagnostic]:
    if not isinstance(patterns, list):
        yield Diagnostic(("include",), f"takes a list, not {describe(patterns)}", "as in [routes/*.yaml]")
        return
    for index, pattern in enumerate(patterns):
        path: KeyPath = ("include", index)
        if not isinstance(pattern, str):
            yield Diagnostic(path, f"takes text, not {describe(pattern)}")
        elif document.is_unset(path):
            yield Diagnostic(path, "a reference has no value here, so the files are not known", "set it")
        else:
            try:
                check_pattern(pattern)
            except InvalidValue as error:
                yield from (diagnostic.below(path) for diagnostic in error.diagnostics)


def _nothing_found(pattern: str, fitting: list[str], document: Document) -> tuple[str, str]:
    """Return message and hint of a pattern that finds none but `fitting`, which are no parts."""
    if any(os.path.realpath(file) == os.path.realpath(document.file) for file in fitting):
        return f"{quoted(pattern)} finds this file, which cannot include itself", ""
    if fitting:
        hint = "test and check read it with the file that it tests"
        return f"{quoted(pattern)} finds only tests, as those of NAME.yaml in NAME_test.yaml", hint
    if pattern.startswith("/"):
        return f"no file is found by {quoted(pattern)}", ""
    folder = whole(base_directory(document.file))
    return f"no file is found by {quoted(pattern)} in {folder}", "a path begins at the folder of this file"


def _own_parts(files: list[str], document: Document, found: Mapping[str, tuple[int, str]]) -> list[str]:
    """Return the files without the configuration itself, and without those of tests beside it and beside others.

    `test` and `check` read NAME_test.yaml as the tests of NAME.yaml.
    """
    itself = os.path.realpath(document.file)
    owners = {document.file, *files, *(file for _, file in found.values())}
    return [file for file in files if os.path.realpath(file) != itself and not _is_companion(Path(file), owners)]


def _is_companion(file: Path, owners: set[str]) -> bool:
    stem = file.stem.removesuffix("_test")
    suffixes = (file.suffix, ".yaml", ".yml")
    return stem not in {"", file.stem} and any(str(file.with_name(stem + suffix)) in owners for suffix in suffixes)


def _add_files(document: Document, found: list[tuple[int, str]], substitution: Substitution) -> Iterator[Diagnostic]:
    whole = _Whole(document)
    size = 0
    for index, file in found:
        try:
            body = read_file(file, MAX_BYTES)
        except UnreadableFile as error:
            yield Diagnostic(("include", index), f"{named(file)} {error}")
            continue
        size += len(body)
        if size > MAX_INCLUDED_BYTES:
            yield Diagnostic(("include",), f"the files are larger than {spell_size(MAX_INCLUDED_BYTES)} together")
            break
        whole.add(parse(body, file, substitution))
        if len(document.values) > MAX_VALUES:
            yield Diagnostic(("include",), f"the files hold more than {MAX_VALUES:,} values together")
            break
        if document.is_hopeless:
            break
    whole.end()


class _Whole:
    """The document with the files that are added to it."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._texts = [document.text]
        self._start = len(document.text)

    def end(self) -> None:
        """Give the document the text of all files, in one go."""
        self._document.text = "".join(self._texts)

    def add(self, part: Document) -> None:
        """Add a file, and what it has of each section."""
        whole = self._document
        self._check(part)
        relocate(part.value, base_directory(part.file), base_directory(whole.file))
        moved = self._join(part)
        shift = self._start
        whole.parts.append(Part(shift, part.file, part.source))
        for place, span in part.keys.items():
            if (path := moved.get(place[:2])) is not None:
                whole.keys[(*path, *place[2:])] = span._replace(start=span.start + shift, end=span.end + shift)
        for place, span in part.values.items():
            if (path := moved.get(place[:2])) is not None:
                whole.values[(*path, *place[2:])] = span._replace(start=span.start + shift, end=span.end + shift)
        whole.refused |= {(*moved[place[:2]], *place[2:]) for place in part.refused if place[:2] in moved}
        whole.substituted |= {
            (*moved[place[:2]], *place[2:]): pieces for place, pieces in part.substituted.items() if place[:2] in moved
        }
        whole.hints |= {(index + shift, where, message): hint for (index, where, message), hint in part.hints.items()}
        whole.written |= {path: place for place, path in moved.items() if path != place}
        whole.complete = whole.complete and part.complete
        self._texts.append(part.text)
        self._start += len(part.text)

    def _check(self, part: Document) -> None:
        """Find the mistakes that only an included file can have."""
        has = f"an included file has {listed(_SECTIONS, 'and')}"
        if not part.complete or part.value is INVALID:
            return
        if part.value is None:
            part.add_at(0, (), "the file is empty", f"{has}; remove it, or write routes: []")
        elif not isinstance(part.value, dict):
            part.add(Diagnostic((), f"takes a mapping, not {describe(part.value)}", has))
        for key in part.value if isinstance(part.value, dict) else ():
            if key not in _SECTIONS:
                message = f"{quoted(key)} cannot stand in an included file"
                part.add(Diagnostic((key,), message, f"{has}; all else is for {self._document.file}", at_key=True))

    def _join(self, part: Document) -> dict[KeyPath, KeyPath]:
        """Add the values; return the path in the whole of each item and entry that was added, by its own."""
        moved: dict[KeyPath, KeyPath] = {}
        for key, own in part.value.items() if isinstance(part.value, dict) else ():
            empty: Any = [] if key in _LISTS else {}
            if key not in _SECTIONS or own is INVALID:
                continue
            if not isinstance(own, type(empty)):
                part.add(Diagnostic((key,), f"takes {describe(empty)}, not {describe(own)}"))
                continue
            whole: Any = self._document.value
            if not isinstance(whole.setdefault(key, empty), type(empty)):
                continue  # of the file itself: a mistake there
            if key in _LISTS:
                moved |= {(key, index): (key, len(whole[key]) + index) for index in range(len(own))}
                whole[key] += own
            else:
                moved |= {(key, name): (key, name) for name in self._added(key, whole[key], own, part)}
        return moved

    def _added(self, key: str, whole: dict[str, Any], own: dict[str, Any], part: Document) -> Iterator[str]:
        """Add the entries of a mapping; one with a name that is taken is a mistake."""
        for name, value in own.items():
            path: KeyPath = (key, name)
            if name in whole:
                there = self._document.place(Diagnostic(path, "", at_key=True))
                hint = f"{there.file}:{there.line}:{there.column} has it"
                part.add(Diagnostic(path, f"the name {quoted(name)} is taken", hint, at_key=True))
            else:
                whole[name] = value
                yield name
