"""Where `dead` finds its letters, and which of them are meant."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from typing import Final, get_args

from bridge.commands.layout import spell_number
from bridge.commands.redis_target import given_redis
from bridge.config import Config, Dramatiq
from bridge.config.document import Document
from bridge.config.loading import load_with_places
from bridge.config.substitution import Substitution
from bridge.config.wording import near_miss
from bridge.dead_letters.letters import Letter, is_letter_id
from bridge.dead_letters.store import Filter, LetterStore
from bridge.dead_letters.workers import MAX_IDS, WorkerLetter, WorkerStore
from bridge.errors import BridgeError, ConfigError, DeadLetterReason, KeyPath, UsageError
from bridge.observe.log_fields import cut, escape
from bridge.observe.masking import masked
from bridge.routing.compiler import check_routes

#: The keys of a source that only a connection needs.
_OF_CONNECTIONS: Final = frozenset({"url", "username", "password", "tls"})
#: So many names are listed.
_MAX_NAMES: Final = 20
#: The filters that only letters of the bridge have.
_OF_EVENTS: Final = ("source", "route", "reason")


class Place:
    """The letters of one Redis that the command line means: of the bridge, or of the workers.

    `config` is the file's, None with `--redis`.
    """

    def __init__(
        self, dramatiq: Dramatiq, config: Config | None, document: Document | None, arguments: argparse.Namespace
    ) -> None:
        self.config = config
        self._dramatiq = dramatiq
        self._document = document
        queues = sorted({route.queue for route in config.routes}) if config is not None else []
        self.letters = LetterStore(dramatiq)
        self.workers = WorkerStore(dramatiq, arguments.queue, queues) if arguments.workers else None
        self._filter = _filter(arguments)

    @property
    def is_filtered(self) -> bool:
        """Whether only some of the letters are meant."""
        return self._filter.is_given

    async def pages(
        self, *, newest_first: bool = False, up_to: str = ""
    ) -> AsyncIterator[Sequence[Letter | WorkerLetter]]:
        """Yield the letters that are meant, in the pages in which they are read."""
        if self.workers is None:
            async for page in self.letters.pages(self._filter, newest_first=newest_first, up_to=up_to):
                yield page
            return
        async for of_workers in self.workers.pages(newest_first=newest_first):
            yield [letter for letter in of_workers if self._is_meant(letter)]

    async def get(self, letter_id: str) -> Letter | WorkerLetter | None:
        """Return one letter."""
        if self.workers is not None:
            return await self.workers.get(letter_id)
        if not is_letter_id(letter_id):
            raise UsageError(f"ID: {letter_id[:80]!r} is no dead letter's; they are as in 1795759200000-0")
        return await self.letters.get(letter_id)

    async def count(self) -> int:
        """Return the number of all letters, also of those that the filters leave out."""
        return await (self.letters if self.workers is None else self.workers).count()

    def place_of(self, letter: Letter) -> str:
        """Return where the route that failed stands in the file, "" where it does not."""
        if self.config is None or self._document is None or not letter.route:
            return ""
        for index, route in enumerate(self.config.routes):
            if route.name == letter.route:
                place = self._document.position(("routes", index))
                return f"{place.file}:{place.line}"
        return ""

    def check_found(self) -> None:
        """Check the names of the filters, once they leave no letter: a route that was removed may still have some.

        Raises:
            BridgeError: one is unknown.
        """
        known: dict[str, Sequence[str]] = {"reason": get_args(DeadLetterReason)}
        if self.config is not None:
            known["source"] = list(self.config.sources)
            known["route"] = [str(route.name) for route in self.config.routes]
        for kind, names in known.items():
            name = getattr(self._filter, kind)
            if name is None or name in names:
                continue
            owner = "they have" if kind == "reason" else "the file has"
            more = ", ..." if len(names) > _MAX_NAMES else ""
            hint = near_miss(name, names) or f"{owner} {', '.join(names[:_MAX_NAMES])}{more}"
            with_kind = "with the reason" if kind == "reason" else f"of {kind}"
            raise BridgeError(f"no dead letter {with_kind} {cut(name)!r}; {hint}")

    def say_left_out(self) -> None:
        """Say on standard error which letters were not read."""
        for queue in sorted(self.workers.left_out) if self.workers is not None else ():
            first = f"the first {spell_number(MAX_IDS)} dead messages of the queue {escape(queue)} were read"
            print(f"note: {first}: run the command again for the others", file=sys.stderr)

    def masked(self, text: str) -> str:
        """Return a text without the secrets of the connection."""
        return masked(text, self._dramatiq.secrets())

    async def close(self) -> None:
        """Close the connections."""
        await self.letters.close()
        if self.workers is not None:
            await self.workers.close()

    def _is_meant(self, letter: WorkerLetter) -> bool:
        wanted = self._filter
        if wanted.older_ms is not None and letter.dead_at_ms > wanted.older_ms:
            return False
        if wanted.newer_ms is not None and letter.dead_at_ms < wanted.newer_ms:
            return False
        return wanted.text is None or wanted.text.casefold() in letter.body.decode("utf-8", "replace").casefold()


def given_place(arguments: argparse.Namespace) -> Place:
    """Return the letters that the command line means.

    Raises:
        UsageError, ConfigError: it means none.
    """
    if arguments.queue is not None and not arguments.workers:
        raise UsageError("--queue goes with --workers; the bridge's own letters have --source and --route")
    for name in _OF_EVENTS if arguments.workers else ():
        if getattr(arguments, name, None) is not None:
            raise UsageError(f"--{name}: a message of a worker has none; --queue and --text choose among them")
    if arguments.config is None:
        dramatiq = given_redis(arguments.redis, arguments.namespace)
        if arguments.action == "retry" and not arguments.workers:
            raise UsageError("retry needs --config: the letters run through its routes")
        return Place(dramatiq, None, None, arguments)
    # The secrets of the sources may not be there: nothing connects to them.
    loaded = load_with_places(arguments.config, Substitution(os.environ, allow_unset=True), check_routes)
    document = loaded.document
    needed: list[KeyPath] = [("dramatiq",)]
    if arguments.action == "retry" or getattr(arguments, "as_test", False):
        of_sources = [path for path in document.substituted if path[0] == "sources" and path[2] not in _OF_CONNECTIONS]
        needed += [("routes",), ("dead_letters",), *of_sources]
    for path in needed:
        document.unset(path)
    if unset := document.diagnostics():
        raise ConfigError(unset)
    return Place(loaded.model.dramatiq, loaded.model, document, arguments)


def _filter(arguments: argparse.Namespace) -> Filter:
    now_ms = time.time_ns() // 1_000_000
    given = {name: getattr(arguments, name, None) for name in ("source", "route", "reason", "text", "older", "newer")}
    if arguments.action == "retry" and arguments.ids:
        given["route"] = None  # the route to go through
    return Filter(
        source=given["source"],
        route=given["route"],
        reason=given["reason"],
        older_ms=None if given["older"] is None else max(now_ms - given["older"], 0),
        newer_ms=None if given["newer"] is None else max(now_ms - given["newer"], 0),
        text=given["text"],
    )
