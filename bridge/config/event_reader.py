"""Turns the events of a YAML parser into values, each with its position, and refuses all that a configuration may not hold.

It reads events and not composed nodes: events still show anchors and aliases, so that an alias is refused before
anything is expanded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import yaml

from bridge.config import expression_traps as traps
from bridge.config.document import INVALID, MAX_MISTAKES, Document, Span
from bridge.config.redaction import is_address, is_reference, is_secret_path, url_secrets
from bridge.config.scalars import resolve
from bridge.config.substitution import Substituted, Substitution, refilled
from bridge.config.syntax import MAX_DEPTH, SyntaxFault
from bridge.config.wording import quoted
from bridge.errors import InvalidValue, KeyPath
from bridge.model.json_limits import is_encodable

_COMMENT = re.compile(r"[ \t]*#")
#: The parts of a route in which `$` begins an expression.
_WITH_EXPRESSIONS: Final = frozenset({"actor", "queue", "args", "kwargs", "options", "delay", "then"})


class Unreadable(Exception):
    """Ends the reading: libyaml takes quadratic time for deep nesting, and nobody reads thousands of mistakes."""


class EventReader:
    """Fills `document` by the events of one parser.

    `repaired` has the syntax errors that were repaired in the text, by the index of the character. `cuts` knows the
    expressions that YAML has cut.
    """

    def __init__(
        self, document: Document, substitution: Substitution, repaired: dict[int, SyntaxFault], max_values: int
    ) -> None:
        self._max_values = max_values
        self._document = document
        self._substitution = substitution
        self._repaired = repaired
        #: How many lists in [ ] and mappings in { } enclose the current value.
        self._flow = 0
        self._mistakes = 0
        #: The repaired characters whose path in the file is known.
        self.reported: set[int] = set()
        self.cuts = traps.Cuts()

    def read(self, text: str, loader: type[Any]) -> None:
        """Read all of the text.

        Raises:
            YAMLError: the text is no YAML from there on.
            Unreadable: it is not worth reading on.
        """
        parser = loader(text)
        self._next: Callable[[], yaml.Event] = parser.get_event
        try:
            self._read()
        finally:
            parser.dispose()

    def _read(self) -> None:
        document = self._document
        while not isinstance(event := self._next(), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                if document.values:
                    self._report(event, (), "a second document in the file", "a configuration is one document")
                    return
                document.value = self._node(self._next(), (), 1)

    def _report(self, event: yaml.Event, path: KeyPath, message: str, hint: str = "", offset: int = 0) -> None:
        self._document.add_at(_begin(event) + offset, path, message, hint)
        self._mistakes += 1
        if self._mistakes == MAX_MISTAKES:
            raise Unreadable

    def _refuse(self, event: yaml.Event, path: KeyPath, message: str, hint: str = "", offset: int = 0) -> object:
        self._report(event, path, message, hint, offset)
        self._document.refused.add(path)
        return INVALID

    def _node(self, event: yaml.Event, path: KeyPath, depth: int) -> object:
        self._document.values.setdefault(path, _span(event))
        if len(self._document.values) > self._max_values:
            self._report(event, path[:1], f"the file holds more than {self._max_values:,} values")
            raise Unreadable
        if isinstance(event, yaml.ScalarEvent) and event.anchor is None and event.tag is None:
            return self._scalar(event, path)
        if isinstance(event, yaml.AliasEvent):
            self._hide_line(event, path)
            hint = 'write the value out, or quote text that begins with *, as in "*.created"'
            return self._refuse(event, path, "aliases of YAML are refused", hint)
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor is not None:
            self._hide_line(event, path)
            self._refuse(event, path, "anchors of YAML are refused", "quote text that begins with &")
        elif tag is not None:
            negates = "write `not` to negate, and " if path[:1] == ("routes",) and path[2:] == ("when",) else ""
            self._refuse(event, path, "tags of YAML are refused", f"{negates}quote text that begins with !")
        value: object
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, path)
        elif depth > MAX_DEPTH:
            raise self._too_deep(event, path)
        else:
            flow = bool(getattr(event, "flow_style", False))
            self._flow += flow
            value = self._mapping(path, depth) if isinstance(event, yaml.MappingStartEvent) else self._list(path, depth)
            self._flow -= flow
        return INVALID if anchor is not None or tag is not None else value

    def _too_deep(self, event: yaml.Event, path: KeyPath) -> Unreadable:
        # The innermost place would be a line of brackets: the part of the configuration is enough.
        self._report(event, path[:3], f"lists and mappings are nested more than {MAX_DEPTH} deep")
        return Unreadable()

    def _skip(self, event: yaml.Event, path: KeyPath) -> None:
        """Read past a node that is not used; its secrets stay hidden."""
        start = _begin(event)
        depth = 0
        while True:
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.ScalarEvent):
                self._hide(event, path)
            if not depth:
                break
            if depth > MAX_DEPTH:
                raise self._too_deep(event, path)
            event = self._next()
        if is_secret_path(path):
            self._document.source.hide(start, _end(event))

    def _list(self, path: KeyPath, depth: int) -> list[object]:
        values: list[object] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            values.append(self._node(event, (*path, len(values)), depth + 1))
        return values

    def _mapping(self, path: KeyPath, depth: int) -> dict[str, object]:
        values: dict[str, object] = {}
        has_refused = False
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, path)
            if key is None:
                has_refused = True
                self._skip(self._next(), path)
                continue
            place = (*path, key)
            if key in values:
                first = self._document.source.position(self._document.keys[place].start)
                hint = f"it stands on line {first[0]}, column {first[1]} already"
                self._report(event, place, f"duplicate key {quoted(key)}", hint)
                self._skip(self._next(), place)
            else:
                self._document.keys.setdefault(place, _span(event))
                values[key] = self._node(self._next(), place, depth + 1)
        if has_refused and not values and path:
            self._document.refused.add(path)  # in the file it is not empty
        return values

    def _key(self, event: yaml.Event, path: KeyPath) -> str | None:
        if isinstance(event, yaml.CollectionStartEvent):
            self._report(event, path, "a key is text, not a list or a mapping")
            self._skip(event, path)
            return None
        if not isinstance(event, yaml.ScalarEvent):
            self._report(event, path, "aliases of YAML are refused", "quote text that begins with *")
            return None
        if event.anchor is not None or event.tag is not None:
            self._report(event, path, "anchors and tags of YAML are refused", "quote text that begins with & or !")
            return None
        if self._is_repaired(event, path):
            return None
        if not event.style:
            if event.value == "<<":
                self._report(event, path, "merge keys of YAML are refused", "write the entries out")
                return None
            try:
                value = resolve(event.value)
            except InvalidValue:
                # YAML 1.2 reads most of these keys as text; only a number needs quotes.
                value = event.value if not event.value.lstrip("+-").isdecimal() else 0
            if not isinstance(value, str):
                self._report(event, path, "a key is text", "quote it")
                return None
        return str(event.value)

    def _scalar(self, event: yaml.ScalarEvent, path: KeyPath) -> object:
        self._hide(event, path)
        if self._is_repaired(event, path):
            self._document.refused.add(path)
            return INVALID
        text = event.value
        if not is_encodable(text):
            return self._refuse(event, path, "half a surrogate pair is not text")
        if not event.style and traps.holds_expression(path, text):
            cut = self.cuts.find(self._document.text, text, _end(event), in_flow=self._flow > 0)
            if cut is not None and not text.startswith("${"):
                return self._refuse(event, path, cut.message, traps.REMEDY, cut.at - _begin(event))
        if "${" in text and not traps.is_expression_of_route(path, text):
            return self._substitute(event, path)
        if event.style:
            return text
        if traps.lacks_space(path, text):
            return self._refuse(event, path, "a space is missing behind the colon", "as in name: $payload.name")
        if not text and (comment := _COMMENT.match(self._document.text, _end(event))):
            message, hint = "this value is empty: an unquoted # begins a comment", 'write "#" or null'
            return self._refuse(event, path, message, hint, comment.end() - 1 - _begin(event))
        try:
            return resolve(text)
        except InvalidValue as error:
            (diagnostic,) = error.diagnostics
            return self._refuse(event, path, diagnostic.message, diagnostic.hint)

    def _is_repaired(self, event: yaml.ScalarEvent, path: KeyPath) -> bool:
        index = _begin(event)
        if index not in self._repaired:
            return False
        self.reported.add(index)
        self._report(event, path, self._repaired[index].message, self._repaired[index].hint)
        return True

    def _substitute(self, event: yaml.ScalarEvent, path: KeyPath) -> object:
        text = event.value
        value, pieces, unresolved = self._substitution.apply(text)
        document = self._document
        for diagnostic in unresolved:
            offset = document.raw_offset(_span(event), diagnostic.offset or 0)
            self._report(event, path, diagnostic.message, diagnostic.hint, offset)
        if unresolved:
            document.refused.add(path)
            return INVALID
        if pieces:
            document.substituted[path] = (text, pieces)
            if path[:1] == ("routes",) and path[2:] == ("when",) and document.is_unset(path):
                # A number is an operand, and may be a text in quotes; behind a dot stands a name.
                value = refilled(text, pieces, "unset" if ".${" in text else "1")
            if value.startswith("$") and path[:1] == ("routes",) and len(path) > 2 and path[2] in _WITH_EXPRESSIONS:
                # A substituted text is a value: it cannot become an expression.
                value = f"${value}"
        return value if event.style or not pieces else Substituted(value)

    def _hide_line(self, event: yaml.Event, path: KeyPath) -> None:
        # A password may begin with & or *, and goes on where YAML sees the end of a name.
        if is_secret_path(path) or is_address(path):
            self._document.source.hide(_begin(event), self._document.source.end_of_line(_begin(event)))

    def _hide(self, event: yaml.ScalarEvent, path: KeyPath) -> None:
        start, end = _begin(event), _end(event)
        raw = self._document.text[start:end]
        if traps.is_expression_of_route(path, event.value):
            return
        source = self._document.source
        if is_secret_path(path):
            if not is_reference(raw):
                # YAML sees a comment where a password with an unquoted # goes on.
                source.hide(start, end if event.style or self._flow else source.end_of_line(end))
        elif event.style == '"' and "\\" in raw and url_secrets(event.value):
            source.hide(start, end)  # an escape may stand for any part, such as \x40 for @
        elif "://" in raw:
            for first, last in url_secrets(raw):
                source.hide(start + first, start + last)
        elif is_address(path) and "@" in raw:
            # Probably meant as a URL: user and password end at the last @.
            source.hide(start, start + raw.rindex("@"))


def _span(event: yaml.Event) -> Span:
    return Span(_begin(event), _end(event), getattr(event, "style", None) or None)


def _begin(event: yaml.Event) -> int:
    assert event.start_mark is not None  # noqa: S101 - both parsers always set it
    return event.start_mark.index


def _end(event: yaml.Event) -> int:
    assert event.end_mark is not None  # noqa: S101 - both parsers always set it
    return event.end_mark.index
