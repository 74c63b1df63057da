"""The errors of the bridge, each with its data.

What nobody handles differently is not a class of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Why an event is a dead letter, for machines: the field `reason` in Redis and in the log. `poison` is an event during
#: whose processing the bridge ended again and again; `refused-by-redis`, one whose message Redis will never take.
DeadLetterReason = Literal[
    "decode",
    "too-large",
    "missing-field",
    "wrong-type",
    "not-json",
    "option",
    "unmatched",
    "refused-by-redis",
    "poison",
]


class BridgeError(Exception):
    """The root of every error the bridge raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the configuration, before it is placed in the file.

    `loc` is the path of keys and indices to the value, as pydantic gives it; `offset` counts
    characters from the beginning of the scalar at `loc` (for a mistake inside an expression).
    """

    loc: tuple[str | int, ...]
    problem: str
    hint: str = ""
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in the configuration, placed: `line` and `column` count from 1."""

    file: str
    line: int
    column: int
    where: str
    problem: str
    hint: str = ""
    source: str = ""

    def __str__(self) -> str:
        """Return `FILE:LINE:COLUMN: where: problem; hint`, then the line with a caret under it."""
        where = f"{self.where}: " if self.where else ""
        hint = f"; {self.hint}" if self.hint else ""
        text = f"{self.file}:{self.line}:{self.column}: {where}{self.problem}{hint}"
        if not self.source:
            return text
        return f"{text}\n    {self.source}\n    {' ' * (self.column - 1)}^"


class ConfigError(BridgeError):
    """The configuration is wrong; `mistakes` holds every mistake, in the order of the file."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes


class UsageError(BridgeError):
    """Words of the command line that can't be meant; the message names the option and what it takes."""


class ExpressionError(BridgeError):
    """An expression or a pattern that cannot be compiled; `offset` counts characters from its start."""

    def __init__(self, problem: str, hint: str = "", offset: int = 0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint
        self.offset = offset


class Disconnected(BridgeError):
    """A source's connection could not be made, or has ended; a new one has to be made, not before `retry_s` seconds.

    `denied` says that credentials or permissions are wrong: that changes only once somebody changes it.
    """

    def __init__(self, cause: str, *, retry_s: float = 0.0, denied: bool = False) -> None:
        super().__init__(cause)
        self.cause = cause
        self.retry_s = retry_s
        self.denied = denied


class SinkUnavailable(BridgeError):
    """Redis does not take writes now; the same write can be sent again later.

    `denied` says that credentials or permissions are wrong: there is no hurry to try again.
    """

    def __init__(self, cause: str, *, denied: bool = False) -> None:
        super().__init__(cause)
        self.cause = cause
        self.denied = denied


class BadEvent(BridgeError):
    """An event, or one route of it, that can never become a message: a dead letter.

    `reason` is for machines; `detail` describes the mistake for people, and never quotes the body at length.
    """

    def __init__(self, reason: DeadLetterReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def describe_error(error: BaseException) -> str:
    """Return what `error` says, or its name where it says nothing."""
    return str(error) or type(error).__name__
