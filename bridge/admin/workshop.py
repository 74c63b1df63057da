"""The endpoints of the page's tools: dead letters, their retry, and dry runs. Each is bounded, and paced if it costs."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import msgspec

from bridge.admin.access import Refused
from bridge.admin.answers import Answer, parameters
from bridge.model.workshop import ShownLetters, Trial, Workshop, WorkshopError

#: The body of /try, in bytes.
MAX_TRIAL: Final = 256 << 10
_MAX_LETTERS: Final = 200
_DEFAULT_LETTERS: Final = 50
#: A list is as old as this at most; and is made anew once so many times the processor's time that it took have passed.
_FRESH_S: Final = 1.0
_PAUSES: Final = 4
#: Between two dry runs: the connection of one who waits does not live for ever.
_MAX_PAUSE_S: Final = 30.0
#: So many dry runs wait for the one that runs.
_MAX_WAITING: Final = 4
_BUSY: Final = "too many events are tried at once: try again in a moment"


class WorkshopEndpoints:
    """The endpoints on the tools of one bridge."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._lists: dict[tuple[int, bool], tuple[float, ShownLetters]] = {}
        self._listing = asyncio.Lock()
        self._trials = asyncio.Semaphore(1)
        self._waiting = 0
        self._next_trial = 0.0

    async def letters(self, query: str, *, with_contents: bool) -> Answer:
        """Answer /dead-letters: the newest, or the one with the `id`.

        Raises:
            Refused: the query has a mistake.
        """
        given = parameters(query, "limit", "id")
        try:
            if "id" in given:
                return Answer.json(200, await self._workshop.letter(given["id"], with_contents=with_contents))
            limit = _limit(given.get("limit"))
            return Answer.json(200, await self._newest(limit, with_contents=with_contents))
        except WorkshopError as error:
            return Answer.json(503, {"cause": error.words})

    async def retry(self, query: str) -> Answer:
        """Retry the letter `id`.

        Raises:
            Refused: the query has a mistake.
        """
        letter_id = parameters(query, "id").get("id", "")
        if not letter_id:
            raise Refused(400, "name the letter, as in ?id=1795759200000-0")
        try:
            answer = await self._workshop.retry(letter_id)
        except WorkshopError as error:
            return Answer.json(503, {"cause": error.words})
        self._lists.clear()
        return Answer.json(200, answer)

    async def try_event(self, body: bytes) -> Answer:
        """Answer /try: the outcome of an event by the routes that run; nothing is sent.

        Raises:
            Refused: the body is no event, or others are tried.
        """
        try:
            trial = msgspec.json.decode(body, type=Trial)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refused(400, f"the body is no event in JSON: {error}") from None
        if self._waiting >= _MAX_WAITING:
            raise Refused(429, _BUSY, {"Retry-After": "2"})
        self._waiting += 1
        try:
            async with self._trials:
                await asyncio.sleep(max(0.0, self._next_trial - time.monotonic()))
                begin = time.monotonic()
                try:
                    return Answer.json(200, await self._workshop.try_event(trial))
                finally:
                    # It runs in a thread: the time that it took is near the processor's.
                    self._next_trial = time.monotonic() + min(_PAUSES * (time.monotonic() - begin), _MAX_PAUSE_S)
        except WorkshopError as error:
            raise Refused(400 if error.is_mistake else 503, error.words) from None
        finally:
            self._waiting -= 1

    async def _newest(self, limit: int, *, with_contents: bool) -> ShownLetters:
        async with self._listing:
            until, letters = self._lists.get((limit, with_contents), (0.0, None))
            if letters is None or time.monotonic() >= until:
                begin = time.thread_time()
                letters = await self._workshop.newest(limit, with_contents=with_contents)
                fresh_s = max(_FRESH_S, _PAUSES * (time.thread_time() - begin))
                if len(self._lists) > 4:
                    self._lists.clear()
                self._lists[limit, with_contents] = time.monotonic() + fresh_s, letters
            return letters


def _limit(text: str | None) -> int:
    if text is None:
        return _DEFAULT_LETTERS
    if not (text.isascii() and text.isdecimal() and len(text) <= 3 and 1 <= int(text) <= _MAX_LETTERS):
        raise Refused(400, f"limit is a number from 1 to {_MAX_LETTERS}")
    return int(text)
