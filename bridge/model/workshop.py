"""The tools of the page on a running bridge: its dead letters, their retry, and a dry run of any event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec

from bridge.errors import BridgeError


class WorkshopError(BridgeError):
    """A tool cannot do its work: the words say why, without secrets. `is_mistake` says that the asker can mend it."""

    def __init__(self, words: str, *, is_mistake: bool = False) -> None:
        super().__init__(words)
        self.words = words
        self.is_mistake = is_mistake


class ShownReason(msgspec.Struct):
    """Why a letter was dead before a retry."""

    reason: str
    error: str | None


class ShownLetter(msgspec.Struct, kw_only=True):
    """A dead letter. `place` is the part of the route that failed, as in `args.1`.

    `error` may quote the event: it is None for one who may not see contents. Only a letter that was asked for by its id has
    headers and meta, as texts of JSON, and a body: as text, or in base64 if it is none; `body_shown` is the number of its bytes that are shown.
    """

    id: str
    reason: str
    place: str = ""
    error: str | None = None
    source: str = ""
    route: str = ""
    topic: str = ""
    received_at_ms: int = 0
    body_size: int = 0
    body_cut: bool = False
    redacted: Sequence[str] = ()
    earlier: Sequence[ShownReason] = ()
    headers: str | None = None
    meta: str | None = None
    body: str | None = None
    body_base64: str | None = None
    body_shown: int = 0


class ShownLetters(msgspec.Struct):
    """Some letters, the newest first, of `total`."""

    letters: list[ShownLetter]
    total: int


class RetryAnswer(msgspec.Struct):
    """The outcome of a retry, as `bridge.dead_letters.retry` has it."""

    outcome: Literal["retried", "failed", "refused", "gone"]
    messages: int = 0
    reason: str = ""
    detail: str = ""
    new_id: str = ""


class Trial(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An event for a dry run. It has a `payload`, which is written as its source would bring it, or a `body` as text."""

    source: str
    topic: str = ""
    payload: Any = msgspec.UNSET
    body: str | msgspec.UnsetType = msgspec.UNSET
    headers: dict[str, Any] = {}
    meta: dict[str, Any] = {}


class TriedRoute(msgspec.Struct, omit_defaults=True):
    """The outcome of one route. `messages` are JSON, in their order, and `queues` theirs; `unshown` counts the others.

    `why` explains each verdict but "message".
    """

    route: str
    verdict: str
    fits: bool
    queues: list[str] = []
    messages: list[str] = []
    unshown: int = 0
    dead_letter: str = ""
    why: str = ""


class Tried(msgspec.Struct, omit_defaults=True):
    """The outcome of a dry run. `test` is the event as an item of `tests:`; "" with `no_test`, which says why.

    `left_out` counts routes that are not listed.
    """

    result: Literal["fits", "none", "dead-letter"]
    routes: list[TriedRoute]
    dead_letter: str = ""
    why: str = ""
    test: str = ""
    no_test: str = ""
    left_out: int = 0


class Workshop(Protocol):
    """The tools. Each raises WorkshopError, and does one thing at a time."""

    async def newest(self, limit: int, *, with_contents: bool) -> ShownLetters:
        """Return the newest letters, without their bodies."""
        ...

    async def letter(self, letter_id: str, *, with_contents: bool) -> ShownLetters:
        """Return one letter; none if it is not there."""
        ...

    async def retry(self, letter_id: str) -> RetryAnswer:
        """Retry one letter through the route that failed."""
        ...

    async def try_event(self, trial: Trial) -> Tried:
        """Return the outcome of an event by the configuration that runs; nothing is sent."""
        ...
