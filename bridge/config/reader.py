"""YAML with positions: reads a file into a Document.

Built from the parser's events and not from composed nodes: anchors and aliases are still visible
there, and an alias is refused before anything is expanded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import yaml

from bridge.config.diagnostics import REFUSED, Loc, WrongValue, quoted
from bridge.config.document import Document, Span
from bridge.config.redaction import is_reference, is_secret, url_secrets
from bridge.config.scalars import resolve
from bridge.config.substituted import Substituted
from bridge.config.substitution import Substitution
from bridge.config.syntax import SyntaxFault, explain

# libyaml is ten times as fast; the same events come from the parser in Python where it is missing.
LOADER: Final[type[Any]] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 32
#: How often the file is read anew after an unquoted `*` and the like.
_MAX_REPAIRS: Final = 20

_NOT_ALLOWED = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_COMMENT = re.compile(r"[ \t]*#")
#: The parts of a route in which `$` begins an expression.
_WITH_EXPRESSIONS: Final = frozenset({"args", "kwargs", "options", "delay"})


def parse(body: bytes, file: str, substitution: Substitution, loader: type[Any] = LOADER) -> Document:
    """Parse a file; what is wrong with it is in the document's mistakes, nothing is raised."""
    try:
        text = body.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        document = Document(body[: error.start].decode(), file)
        document.complete = False
        document.add_at(len(document.text), (), "the file is not UTF-8 text")
        return document
    document = Document(text, file)
    if found := _NOT_ALLOWED.search(text):
        document.complete = False
        document.add_at(found.start(), (), f"a control character (U+{ord(found[0]):04X}) is not allowed here")
    else:
        _read(document, substitution, loader)
    document.lines.incomplete = not document.complete
    return document


def _read(document: Document, substitution: Substitution, loader: type[Any]) -> None:
    text = document.text
    repaired: dict[int, SyntaxFault] = {}
    while True:
        document.clear()
        reader = _Reader(document, substitution, repaired)
        faults: list[SyntaxFault] = []
        try:
            reader.read(yaml.parse(text, Loader=loader))
        except _TooDeep:
            document.complete = False
        except yaml.YAMLError as error:
            fault = explain(error, text)
            if fault.repair and len(repaired) < _MAX_REPAIRS and fault.index not in repaired:
                # One wildcard without quotes should not hide every other mistake of the file: with a
                # letter in its place the rest can be read, and nothing moves.
                repaired[fault.index] = fault
                text = f"{text[: fault.index]}x{text[fault.index + 1 :]}"
                continue
            document.complete = False
            faults.append(fault)
        for one in (*repaired.values(), *faults):
            if one.index not in reader.reported:
                document.add_at(one.index, (), one.problem, one.hint)
        return


class _TooDeep(Exception):
    """Ends the reading: libyaml takes quadratic time for what is nested without end."""


class _Reader:
    """Turns the parser's events into values."""

    def __init__(self, document: Document, substitution: Substitution, repaired: dict[int, SyntaxFault]) -> None:
        self._document = document
        self._substitution = substitution
        self._repaired = repaired
        self._flow = 0
        #: The repaired characters whose place in the file is known by now.
        self.reported: set[int] = set()

    def read(self, events: Iterable[yaml.Event]) -> None:
        self._events = iter(events)
        document = self._document
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if document.values:
                    self._say(event, (), "a second document in the file", "a configuration is one document")
                    return
                document.value = self._node(next(self._events), (), 1)

    def _say(self, event: yaml.Event, loc: Loc, problem: str, hint: str = "", offset: int = 0) -> None:
        self._document.add_at(_begin(event) + offset, loc, problem, hint)

    def _refuse(self, event: yaml.Event, loc: Loc, problem: str, hint: str = "") -> object:
        self._say(event, loc, problem, hint)
        self._document.refused.add(loc)
        return REFUSED

    def _node(self, event: yaml.Event, loc: Loc, depth: int) -> object:
        self._document.values.setdefault(loc, _span(event))
        if isinstance(event, yaml.AliasEvent):
            if _in_secret(loc):
                self._document.lines.hide(_begin(event), _end(event))
            hint = 'write the value out, or quote text that begins with *, as in "*.created"'
            return self._refuse(event, loc, "aliases of YAML are refused", hint)
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor is not None:
            self._refuse(event, loc, "anchors of YAML are refused", "quote text that begins with &")
        elif tag is not None:
            self._refuse(event, loc, "tags of YAML are refused", "quote text that begins with !")
        value: object
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, loc)
        elif depth > MAX_DEPTH:
            raise self._too_deep(event, loc)
        else:
            flow = bool(getattr(event, "flow_style", False))
            self._flow += flow
            value = self._mapping(loc, depth) if isinstance(event, yaml.MappingStartEvent) else self._list(loc, depth)
            self._flow -= flow
        return REFUSED if anchor is not None or tag is not None else value

    def _too_deep(self, event: yaml.Event, loc: Loc) -> _TooDeep:
        # The innermost place would be a line of brackets: the part of the configuration says enough.
        self._say(event, loc[:3], f"lists and mappings are nested more than {MAX_DEPTH} deep")
        return _TooDeep()

    def _skip(self, event: yaml.Event, loc: Loc) -> None:
        """Read past a node that is not used; what is secret in it stays hidden."""
        start = _begin(event)
        depth = 0
        while True:
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.ScalarEvent):
                self._hide(event, loc)
            if not depth:
                break
            if depth > MAX_DEPTH:
                raise self._too_deep(event, loc)
            event = next(self._events)
        if _in_secret(loc):
            self._document.lines.hide(start, _end(event))

    def _list(self, loc: Loc, depth: int) -> list[object]:
        values: list[object] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            values.append(self._node(event, (*loc, len(values)), depth + 1))
        return values

    def _mapping(self, loc: Loc, depth: int) -> dict[str, object]:
        values: dict[str, object] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, loc)
            known = self._document.keys
            if key is None:
                self._skip(next(self._events), loc)
            elif (*loc, key) in known and key in values:
                first = self._document.lines.position(known[*loc, key].start)
                hint = f"it stands on line {first[0]}, column {first[1]} already"
                self._say(event, (*loc, key), f"duplicate key {quoted(key)}", hint)
                self._skip(next(self._events), (*loc, key))
            else:
                known.setdefault((*loc, key), _span(event))
                values[key] = self._node(next(self._events), (*loc, key), depth + 1)
        return values

    def _key(self, event: yaml.Event, loc: Loc) -> str | None:
        if isinstance(event, yaml.CollectionStartEvent):
            self._say(event, loc, "a key is text, not a list or a mapping")
            self._skip(event, loc)
            return None
        if not isinstance(event, yaml.ScalarEvent):
            self._say(event, loc, "aliases of YAML are refused", "quote text that begins with *")
            return None
        if event.anchor is not None or event.tag is not None:
            self._say(event, loc, "anchors and tags of YAML are refused", "quote text that begins with & or !")
            return None
        if self._is_repaired(event, loc):
            return None
        if not event.style:
            if event.value == "<<":
                self._say(event, loc, "merge keys of YAML are refused", "write the entries out")
                return None
            try:
                plain = resolve(event.value)
            except WrongValue:
                # Text is what a key is in every YAML 1.2; only what is a number there needs quotes.
                plain = event.value if not event.value.lstrip("+-").isdecimal() else 0
            if not isinstance(plain, str):
                self._say(event, loc, "a key is text", "quote it")
                return None
        return str(event.value)

    def _scalar(self, event: yaml.ScalarEvent, loc: Loc) -> object:
        self._hide(event, loc)
        if self._is_repaired(event, loc):
            self._document.refused.add(loc)
            return REFUSED
        text = event.value
        if any("\ud800" <= char <= "\udfff" for char in text):
            return self._refuse(event, loc, "half a surrogate pair is not text")
        if "${" in text and not _is_expression(loc, text):
            return self._substitute(event, loc)
        if event.style:
            return text
        if not text and (comment := _COMMENT.match(self._document.text, _end(event))):
            problem, hint = "this value is empty: an unquoted # begins a comment", 'write "#" or null'
            self._say(event, loc, problem, hint, comment.end() - 1 - _begin(event))
            self._document.refused.add(loc)
            return REFUSED
        if self._flow and text.startswith("$") and any(text.count(a) > text.count(b) for a, b in ("()", "[]", "{}")):
            return self._refuse(event, loc, "the comma ends this expression", "quote the whole expression")
        try:
            return resolve(text)
        except WrongValue as error:
            return self._refuse(event, loc, error.problem, error.hint)

    def _is_repaired(self, event: yaml.ScalarEvent, loc: Loc) -> bool:
        index = _begin(event)
        if index not in self._repaired:
            return False
        self.reported.add(index)
        self._say(event, loc, self._repaired[index].problem, self._repaired[index].hint)
        return True

    def _substitute(self, event: yaml.ScalarEvent, loc: Loc) -> object:
        text = event.value
        value, pieces, unresolved = self._substitution.apply(text)
        document = self._document
        for one in unresolved:
            offset = document.raw_offset(_span(event), one.offset)
            self._say(event, loc, one.problem, one.hint, offset)
        if unresolved:
            document.refused.add(loc)
            return REFUSED
        if pieces:
            document.substituted[loc] = (text, pieces)
            if value.startswith("$") and loc[:1] == ("routes",) and len(loc) > 2 and loc[2] in _WITH_EXPRESSIONS:
                # What was put in is a value: it cannot become an expression.
                value = f"${value}"
        return value if event.style or not pieces else Substituted(value)

    def _hide(self, event: yaml.ScalarEvent, loc: Loc) -> None:
        start, end = _begin(event), _end(event)
        raw = self._document.text[start:end]
        if _is_expression(loc, event.value):
            return
        lines = self._document.lines
        if _in_secret(loc):
            if not is_reference(raw):
                # A password with an unquoted # in it goes on where YAML sees a comment.
                lines.hide(start, end if event.style or self._flow else lines.end_of_line(end))
        elif "://" in raw:
            for first, last in url_secrets(raw):
                lines.hide(start + first, start + last)
        elif loc and loc[-1] == "url" and "@" in raw:
            # Not a URL, but probably meant as one: user and password end at the last @.
            lines.hide(start, start + raw.rindex("@"))


def _in_secret(loc: Loc) -> bool:
    return any(isinstance(step, str) and is_secret(step) for step in loc)


def _is_expression(loc: Loc, text: str) -> bool:
    """Tell whether `$` begins an expression of a route, which is left alone."""
    return loc[:1] == ("routes",) and text.startswith("$") and not text.startswith("${")


def _span(event: yaml.Event) -> Span:
    return Span(_begin(event), _end(event), getattr(event, "style", None) or None)


def _begin(event: yaml.Event) -> int:
    assert event.start_mark is not None  # noqa: S101 - both parsers always set it
    return event.start_mark.index


def _end(event: yaml.Event) -> int:
    assert event.end_mark is not None  # noqa: S101 - both parsers always set it
    return event.end_mark.index
