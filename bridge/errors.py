"""The errors of the bridge, each with its data, and the diagnostics of a wrong configuration.

Errors that every caller handles alike share one class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bridge.observe.log_fields import escape

#: Keys and indices that lead to a value of the configuration, as in `("routes", 0, "topic")`.
KeyPath = tuple[str | int, ...]


#: Why an event is a dead letter, for machines: the field `reason` in Redis and in the log. `invalid` is one whose
#: payload does not fit the schema of `validate`; `poison` is an event during whose processing the bridge ended again
#: and again; `arguments`, one whose actor can't be called so (`enforce_manifest`); `not-allowed`, one that names an
#: actor or a queue which its route does not `allow`; `refused-by-redis`, one whose message Redis will never take.
DeadLetterReason = Literal[
    "decode",
    "invalid",
    "too-large",
    "missing-field",
    "wrong-type",
    "not-json",
    "option",
    "arguments",
    "not-allowed",
    "unmatched",
    "refused-by-redis",
    "poison",
]


class BridgeError(Exception):
    """The root of every error the bridge raises on purpose."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake in the configuration, before it is placed in the file.

    `path` leads from the checked value to the wrong one. `offset` counts characters from the beginning of the text at
    `path`; None means the whole value. With `at_key` the diagnostic points to the key and not to its value.
    """

    path: KeyPath
    message: str
    hint: str = ""
    offset: int | None = None
    at_key: bool = False

    def __str__(self) -> str:
        """Return `message; hint`."""
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def below(self, path: KeyPath, prefix: int | None = None) -> Diagnostic:
        """Return this diagnostic as one of an outer value, from which `path` leads to the checked value.

        If the checked text is only a part of the text at `path`, `prefix` is the number of characters before it.
        """
        offset = self.offset if prefix is None else prefix + (self.offset or 0)
        return replace(self, path=(*path, *self.path), offset=offset)


@dataclass(frozen=True, slots=True)
class LocatedDiagnostic:
    """One mistake in the configuration, placed in the file.

    `line` and `column` count from 1, `where` is the path as people write it (`routes[0].topic`), and `line_text` is the
    line of the file, with its secrets masked.
    """

    file: str
    line: int
    column: int
    where: str
    message: str
    hint: str = ""
    line_text: str = ""

    def __str__(self) -> str:
        """Return `FILE:LINE:COLUMN: where: message; hint` as one line, then the line with a caret under it."""
        where = f"{self.where}: " if self.where else ""
        hint = f"; {self.hint}" if self.hint else ""
        text = escape(f"{self.file}:{self.line}:{self.column}: {where}{self.message}{hint}")
        if not self.line_text:
            return text
        return f"{text}\n    {self.line_text}\n    {' ' * (self.column - 1)}^"


class InvalidValue(BridgeError, ValueError):
    """A value that cannot be used in the configuration: text, an expression, a topic, or a whole mapping.

    `diagnostics` holds at least one mistake. It is a ValueError because pydantic collects nothing else.
    """

    def __init__(self, message: str, hint: str = "", offset: int | None = None) -> None:
        super().__init__(message)
        self.diagnostics: Sequence[Diagnostic] = [Diagnostic((), message, hint, offset)]

    @classmethod
    def of(cls, diagnostics: Sequence[Diagnostic]) -> InvalidValue:
        """Return the error of a value with several mistakes, or with one at a path of its own."""
        error = cls(diagnostics[0].message)
        error.diagnostics = diagnostics
        return error

    def __str__(self) -> str:
        """Return every mistake with its hint, on one line."""
        return "; ".join(map(str, self.diagnostics))


class ConfigError(BridgeError):
    """The configuration is wrong; `diagnostics` holds every mistake, in the order of the file."""

    def __init__(self, diagnostics: Sequence[LocatedDiagnostic]) -> None:
        super().__init__("\n".join(map(str, diagnostics)))
        self.diagnostics = diagnostics


class UsageError(BridgeError):
    """A wrong word on the command line; the message names the option and the values that it takes."""


class Disconnected(BridgeError):
    """A source could not connect, or its connection has ended; connect again, after `retry_s` seconds at the earliest.

    `denied` means wrong credentials or permissions: an operator has to change them first. A look before the start names a
    `remedy`, and the `key` of the setting that it is about.
    """

    def __init__(
        self, cause: str, *, retry_s: float = 0.0, denied: bool = False, remedy: str = "", key: str = "url"
    ) -> None:
        super().__init__(cause)
        self.remedy = remedy
        self.key = key
        self.cause = cause
        self.retry_s = retry_s
        self.denied = denied


class SinkUnavailable(BridgeError):
    """Redis does not take writes now; the same write can be sent again later.

    `denied` means wrong credentials or permissions: an operator has to change them first.
    """

    def __init__(self, cause: str, *, denied: bool = False) -> None:
        super().__init__(cause)
        self.cause = cause
        self.denied = denied


class BadEvent(BridgeError):
    """An event, or one route of it, that can never become a message: a dead letter.

    `reason` is for machines; `detail` describes the fault for people, and never quotes the body at length. `place` is that
    of the expression that failed, as in `kwargs.unit`, or "".
    """

    def __init__(self, reason: DeadLetterReason, detail: str, place: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.place = place


def describe_error(error: BaseException) -> str:
    """Return the text of `error`, or the name of its class if it has none."""
    return str(error) or type(error).__name__


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and each error that led to it, once: a library that raises an error again makes a ring (aiormq, observed)."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and not any(cause is one for one in seen):
        seen.append(cause)
        yield cause
        cause = cause.__cause__ or cause.__context__
