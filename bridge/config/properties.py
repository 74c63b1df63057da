"""The headers and the `meta` that the events of a source have, for events that no broker brings: those of a dry run.

This file knows no protocol: each source declares its own table, as one of its traits.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from bridge.config.times import parse_time
from bridge.config.wording import describe, near_miss, quoted
from bridge.errors import Diagnostic, InvalidValue

_ENTRY_ID: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}", re.ASCII)
_MAX_SECONDS: Final = 2**32 - 1
_MAX_OCTET: Final = 255


def text(value: object) -> str:
    """Return a text. Raises InvalidValue for any other value."""
    if not isinstance(value, str):
        hint = f'quote it: "{value}"' if type(value) in (int, float) else ""
        raise InvalidValue(f"takes text, not {describe(value)}", hint)
    return str(value)


def entry_id(value: object) -> str:
    """Return the id of an entry of a Redis stream. Raises InvalidValue for any other value."""
    if not _ENTRY_ID.fullmatch(text(value)):
        raise InvalidValue("takes the id of an entry", "as in 1795759200000-0")
    return text(value)


def flag(value: object) -> bool:
    """Return true or false. Raises InvalidValue for any other value."""
    if not isinstance(value, bool):
        raise InvalidValue(f"takes true or false, not {describe(value)}")
    return value


def up_to(highest: int) -> Callable[[object], int]:
    """Return a function that returns a whole number from 0 to `highest`, and raises InvalidValue for any other value."""

    def read(value: object) -> int:
        if type(value) is not int or not 0 <= value <= highest:
            raise InvalidValue(f"takes {' or '.join(map(str, range(highest + 1)))}, by the settings of its source")
        return value

    return read


def octet(value: object) -> int:
    """Return a whole number of one byte. Raises InvalidValue for any other value."""
    if type(value) is not int or not 0 <= value <= _MAX_OCTET:
        raise InvalidValue(f"takes a whole number from 0 to {_MAX_OCTET}")
    return value


def whole_seconds(value: object) -> int:
    """Return seconds, a whole number. Raises InvalidValue for any other value."""
    if type(value) is not int or not 0 <= value <= _MAX_SECONDS:
        raise InvalidValue(f"takes whole seconds from 0 to {_MAX_SECONDS}")
    return value


def seconds(value: object) -> float:
    """Return seconds as a fraction. Raises InvalidValue for any other value."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= _MAX_SECONDS:
        raise InvalidValue(f"takes seconds from 0 to {_MAX_SECONDS}")
    return float(value)


def whole_second(value: object) -> int:
    """Return the milliseconds of a time that is a whole second. Raises InvalidValue for any other value."""
    time = parse_time(value)
    if time % 1000:
        raise InvalidValue("takes a time in whole seconds: the protocol has no fractions of them")
    return time


@dataclass(frozen=True, slots=True)
class Property:
    """One name of `meta`. `read` returns a value as an event has it, or raises InvalidValue.

    An event that does not set it has the `default`.
    """

    read: Callable[[object], object]
    default: object = None

    @property
    def is_text(self) -> bool:
        """Whether its values are texts, also those that look like numbers."""
        return self.read in (text, entry_id)


@dataclass(frozen=True, slots=True)
class Properties:
    """The headers and the `meta` of a source's events.

    `headers` says what they hold: JSON values, texts, or None where there are no headers at all; then `no_headers` says
    why.
    """

    meta: Mapping[str, Property]
    headers: Literal["json", "text"] | None
    no_headers: str = ""
    default_headers: Mapping[str, object] = field(default_factory=dict)
    #: The headers, and the fields of a payload without `decode`, that are bytes: each is base64.
    binary: frozenset[str] = frozenset()

    def read(self, headers: Mapping[str, Any], meta: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the headers and the meta of an event that sets these.

        Raises:
            InvalidValue: the source brings no such event; the paths begin with "headers" or "meta".
        """
        mistakes = [*self._wrong_headers(headers)]
        values = {name: each.default for name, each in self.meta.items()}
        for name, value in meta.items():
            try:
                values[name] = self._read(name, value)
            except InvalidValue as error:
                mistakes += [diagnostic.below(("meta", name)) for diagnostic in error.diagnostics]
        if mistakes:
            raise InvalidValue.of(mistakes)
        return {**self.default_headers, **headers}, values

    def check_binary(self, name: str, value: str) -> None:
        """Raise InvalidValue for a value of a header, or of a field, that is bytes, where it is not base64 as the source writes it."""
        if name not in self.binary:
            return
        try:
            is_right = base64.b64encode(base64.b64decode(value, validate=True)).decode() == value
        except ValueError:
            is_right = False
        if not is_right:
            raise InvalidValue("the source lists it in `binary`, so it is always base64", "write its bytes in base64")

    def _wrong_headers(self, headers: Mapping[str, Any]) -> Iterator[Diagnostic]:
        if headers and self.headers is None:
            yield Diagnostic(("headers",), self.no_headers, "remove headers", at_key=True)
        elif self.headers == "text":
            for name, value in headers.items():
                try:
                    self.check_binary(name, text(value))
                except InvalidValue as error:
                    yield error.diagnostics[0].below(("headers", name))

    def _read(self, name: str, value: object) -> object:
        known = self.meta.get(name)
        if known is None:
            has = f"it has {', '.join(self.meta)}" if self.meta else "it is empty, so remove it"
            hint = near_miss(name, self.meta) or has
            raise InvalidValue.of([Diagnostic((), f"meta of this source has no {quoted(name)}", hint, at_key=True)])
        return None if value is None and known.default is None else known.read(value)
