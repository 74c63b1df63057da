"""`dead retry` and `dead purge`: with their progress, and to be interrupted at any moment."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, Final, cast

from bridge.commands.dead_place import Place
from bridge.commands.dead_progress import Interrupt, Progress, Tally
from bridge.commands.layout import spell_number
from bridge.dead_letters.letters import Letter
from bridge.dead_letters.retry import Retried, Retrier
from bridge.dead_letters.scripts import parts
from bridge.dead_letters.workers import WorkerLetter
from bridge.errors import BridgeError, SinkUnavailable, UsageError
from bridge.observe.log_fields import cut, escape

EX_INTERRUPTED: Final = 130
_PURGED_AT_ONCE: Final = 500
_RETRIED_AT_ONCE: Final = 50


async def retry(place: Place, arguments: argparse.Namespace) -> int:
    """Retry the letters that are meant, and print a summary; return 0 if all were retried."""
    _check(place, arguments)
    run = _retrying(place, arguments)
    tally = Tally()
    progress = Progress(len(arguments.ids) or await _count(place), "done")
    failure: SinkUnavailable | None = None
    with Interrupt() as interrupt:
        try:
            async for page in _chosen(place, arguments, interrupt):
                found = [one for one in page if not isinstance(one, str)]
                for gone in (one for one in page if isinstance(one, str)):
                    tally.add_gone(1)
                    _say_gone(gone, progress)
                async for one, retried in run(found):
                    tally.add(retried)
                    progress.add(1)
                    if arguments.ids and retried.outcome != "retried":
                        _say(one, retried, progress)
        except SinkUnavailable as error:
            failure = error
    progress.end()
    if failure is None and not tally.has_any and not interrupt.is_set:
        place.check_found()
    if failure is None or tally.has_any:
        tally.print(with_causes=not arguments.ids)
    if failure is not None:
        cause = place.masked(failure.cause)
        raise BridgeError(f"Redis: {cause}; the letters that are left are as they were: retry again")
    if interrupt.is_set:
        print("interrupted: the letters that are left are as they were", file=sys.stderr)
        return EX_INTERRUPTED
    return 0 if tally.all_retried else 1


def _retrying(
    place: Place, arguments: argparse.Namespace
) -> Callable[[Sequence[Any]], AsyncIterator[tuple[Any, Retried]]]:
    """Return the function that retries some letters, as the command line says.

    Raises:
        UsageError: it says two things at once.
    """
    through = arguments.through or (arguments.route if arguments.ids else None)
    if place.workers is not None:
        if through:
            raise UsageError("--through: a message of a worker goes back to its queue, through no route")
        return partial(place.workers.retry_all, as_is=arguments.as_is)
    if through and arguments.as_is:
        raise UsageError("--as-is goes through all routes, --route through one: give one of them")
    assert place.config is not None  # noqa: S101 - `given_place` has made sure
    if through and through not in {route.name for route in place.config.routes}:
        raise UsageError(f"--through: no route {through!r} in {arguments.config}")
    return partial(Retrier(place.config, place.letters).retry_all, route=through, as_is=arguments.as_is)


async def purge(place: Place, arguments: argparse.Namespace) -> int:
    """Delete the letters that are meant, once somebody has agreed."""
    _check(place, arguments)
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise UsageError("purge asks on a terminal; here it needs --yes")
        count = len(arguments.ids) or await _count(place)
        if not count:
            place.check_found()
        letters = f"{spell_number(count)} dead letter{'s' if count != 1 else ''}"
        print(f"delete {letters} for good? [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            print("nothing is deleted")
            return 1
    deleted = missing = 0
    progress = Progress(len(arguments.ids) or await _count(place), "deleted")
    with Interrupt() as interrupt:
        try:
            async for page in _chosen(place, arguments, interrupt):
                found = [one for one in page if not isinstance(one, str)]
                for gone in (one for one in page if isinstance(one, str)):
                    _say_gone(gone, progress)
                there = 0
                for few in parts(found, _PURGED_AT_ONCE):
                    if place.workers is not None:
                        there += await place.workers.purge(cast("Sequence[WorkerLetter]", few))
                    else:
                        there += await place.letters.purge([one.id for one in few])
                deleted, missing = deleted + there, missing + len(page) - there
                progress.add(there)
        finally:
            progress.end()
            gone = f", {spell_number(missing)} were gone before" if missing else ""
            print(f"{spell_number(deleted)} deleted{gone}")
    if not deleted and not missing and not interrupt.is_set:
        place.check_found()
    return EX_INTERRUPTED if interrupt.is_set else int(bool(arguments.ids) and missing > 0)


def _check(place: Place, arguments: argparse.Namespace) -> None:
    if arguments.ids and arguments.all:
        raise UsageError("give IDs, or --all")
    if not arguments.ids and not arguments.all and not place.is_filtered:
        raise UsageError(f"dead {arguments.action} takes IDs as `dead list` shows them, filters, or --all")
    filters = ("source", "reason", "older", "newer", "text", *(("route",) if arguments.action == "purge" else ()))
    for name in filters if arguments.ids else ():
        if getattr(arguments, name) is not None:
            raise UsageError(f"--{name} chooses among all letters: leave the IDs out")


async def _chosen(
    place: Place, arguments: argparse.Namespace, interrupt: Interrupt
) -> AsyncIterator[Sequence[Letter | WorkerLetter | str]]:
    """Yield the letters that are meant, in pages, until an interrupt; an id alone stands for a letter that is gone."""
    if arguments.ids:
        for letter_id in dict.fromkeys(arguments.ids):
            if interrupt.is_set:
                return
            letter = await place.get(letter_id)
            yield [letter_id if letter is None else letter]
        return
    # A retry that fails makes a new letter, behind this one.
    up_to = await place.letters.last_id() if place.workers is None else ""
    if place.workers is None and not up_to:
        return
    async for page in place.pages(up_to=up_to):
        for few in parts(page, _PURGED_AT_ONCE if arguments.action == "purge" else _RETRIED_AT_ONCE):
            if interrupt.is_set:
                return
            yield few


async def _count(place: Place) -> int:
    if not place.is_filtered:
        return await place.count()
    count = 0
    async for page in place.pages():
        count += len(page)
    return count


def _say_gone(letter_id: str, progress: Progress) -> None:
    progress.end()
    print(f"{escape(letter_id)}: gone: retried, purged, or never there; one that failed again has a new id")


def _say(one: Letter | WorkerLetter, retried: Retried, progress: Progress) -> None:
    progress.end()
    new = f"; the new letter is {retried.new_id}" if retried.new_id else ""
    print(f"{escape(one.id)}: {retried.outcome}: {escape(retried.reason)}: {escape(cut(retried.detail))}{new}")
