"""The tools of the page, by the configuration that runs now: each works beside the events, and none of them moves one."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from bridge.config import Config
from bridge.dead_letters.letters import Letter
from bridge.dead_letters.retry import Retrier
from bridge.dead_letters.store import LetterStore
from bridge.errors import SinkUnavailable
from bridge.model.workshop import (
    RetryAnswer,
    ShownLetter,
    ShownLetters,
    ShownReason,
    Trial,
    Tried,
    Workshop,
    WorkshopError,
)
from bridge.observe.masking import without_secrets
from bridge.process.trials import TrialRun
from bridge.routing.redaction import RedactedEvent, Redaction

#: A tool that waits for Redis longer gives up.
_PATIENCE_S: Final = 15.0
#: So many bytes of a body are shown.
_MAX_SHOWN: Final = 256 << 10
#: The part of a route that failed stands at the beginning of the error.
_PLACE: Final = re.compile(r"(?:when|args|kwargs|options|delay)\b[\w.\-\[\]]{0,100}(?=: )")


class LiveWorkshop:
    """The tools on the bridge that runs `config()`; they share one connection to Redis, which is open while one works."""

    def __init__(self, config: Callable[[], Config]) -> None:
        self._config = config
        self._letters = asyncio.Lock()
        self._trials = asyncio.Lock()
        self._run: TrialRun | None = None

    async def newest(self, limit: int, *, with_contents: bool) -> ShownLetters:
        """See `Workshop`."""
        async with self._store() as store:
            letters = self._redacted(await store.newest(limit))
            return ShownLetters([_shown(each, with_error=with_contents) for each in letters], await store.count())

    async def letter(self, letter_id: str, *, with_contents: bool) -> ShownLetters:
        """See `Workshop`."""
        async with self._store() as store:
            stored = await store.get(letter_id)
            if stored is None:
                return ShownLetters([], 0)
            (found,) = self._redacted([stored])
            return ShownLetters([_whole(found) if with_contents else _shown(found, with_error=False)], 1)

    async def retry(self, letter_id: str) -> RetryAnswer:
        """See `Workshop`."""
        config = self._config()
        async with self._store() as store:
            letter = await store.get(letter_id)
            if letter is None:
                return RetryAnswer("gone")
            # Of thousands of routes it takes a while.
            retrier = await asyncio.to_thread(Retrier, config, store)
            retried = await retrier.retry(letter)
        detail = without_secrets(retried.detail)
        return RetryAnswer(retried.outcome, retried.messages, retried.reason, detail, retried.new_id)

    async def try_event(self, trial: Trial) -> Tried:
        """See `Workshop`."""
        async with self._trials:
            config = self._config()
            if trial.source not in config.sources:
                names = ", ".join(config.sources)
                raise WorkshopError(f"source: there is no source {trial.source!r}; there are {names}", is_mistake=True)
            # In a thread: compiling thousands of routes, and explaining why they do not fit, would hold the events up.
            return await asyncio.to_thread(self._try, config, trial)

    def _redacted(self, letters: Sequence[Letter]) -> Sequence[Letter]:
        """Return letters without the fields of `dead_letters.redact`: they may be older than it."""
        config = self._config()
        redaction = Redaction.of(config)
        return [_without(each, redaction, config) for each in letters] if redaction.is_on else letters

    def _try(self, config: Config, trial: Trial) -> Tried:
        if self._run is None or not self._run.serves(config, trial.source):
            self._run = TrialRun(config, trial.source)
        return self._run.run(trial)

    @asynccontextmanager
    async def _store(self) -> AsyncIterator[LetterStore]:
        """Give a connection to one tool at a time."""
        try:
            async with asyncio.timeout(_PATIENCE_S), self._letters:
                store = LetterStore(self._config().dramatiq)
                try:
                    yield store
                finally:
                    await store.close()
        except SinkUnavailable as error:
            raise WorkshopError(without_secrets(str(error))) from None
        except TimeoutError:
            raise WorkshopError(f"Redis has not answered within {_PATIENCE_S:g} s") from None


def _shown(letter: Letter, *, with_error: bool) -> ShownLetter:
    place = _PLACE.match(letter.error)
    return ShownLetter(
        id=letter.id,
        reason=letter.reason,
        place=place[0] if place else "",
        error=letter.error if with_error else None,
        source=letter.source,
        route=letter.route,
        topic=letter.topic,
        received_at_ms=letter.received_at_ms,
        body_size=letter.body_size,
        body_cut=letter.body_cut,
        redacted=letter.redacted,
        earlier=[ShownReason(each.reason, each.error if with_error else None) for each in letter.earlier],
    )


def _without(letter: Letter, redaction: Redaction, config: Config) -> Letter:
    event = letter.event(config)
    kept = redaction.event(event)
    hide = redaction.hiding(event)
    earlier = [msgspec.structs.replace(each, error=hide(each.error)) for each in letter.earlier]
    letter = msgspec.structs.replace(letter, error=hide(letter.error), earlier=earlier)
    if kept is event or not isinstance(kept, RedactedEvent):
        return letter
    headers, meta = kept.details()
    return msgspec.structs.replace(
        letter,
        body=kept.body,
        headers=dict(headers),
        meta={name: value for name, value in meta.items() if name in letter.meta},
        redacted=kept.redacted,
    )


def _whole(letter: Letter) -> ShownLetter:
    shown = _shown(letter, with_error=True)
    shown.headers, shown.meta = (msgspec.json.encode(each).decode() for each in (letter.headers, letter.meta))
    body = letter.body[:_MAX_SHOWN]
    shown.body_shown = len(body)
    try:
        # The end of a body that was cut may be half of a character.
        shown.body = letter.body.decode() if body is letter.body else letter.body.decode()[:_MAX_SHOWN]
    except UnicodeDecodeError:
        shown.body_base64 = base64.b64encode(body).decode()
    return shown


if TYPE_CHECKING:
    _: type[Workshop] = LiveWorkshop
