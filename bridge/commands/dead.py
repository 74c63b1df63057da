"""`dead list | show | retry | purge | export`: the bridge's own dead letters, and with `--workers` those of Dramatiq."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Final

from bridge.commands import dead_change, dead_text
from bridge.commands.dead_place import Place, given_place
from bridge.dead_letters.export import letter_json, worker_letter_json
from bridge.dead_letters.letters import Letter
from bridge.dead_letters.workers import WorkerLetter
from bridge.dry_run.as_test import as_test
from bridge.errors import BridgeError, InvalidValue, SinkUnavailable, UsageError

_NOT_FOUND: Final = "there is no dead letter {}: it was retried, purged, or made room for others"


def main(arguments: argparse.Namespace) -> int:
    """Run the action; return its exit code."""
    place = given_place(arguments)
    try:
        return asyncio.run(_run(place, arguments))
    except SinkUnavailable as error:
        is_default = arguments.config is None and arguments.redis is None
        hint = "; --config FILE or --redis URL names another" if is_default else ""
        raise BridgeError(place.masked(f"Redis: {error.cause}") + hint) from None


async def _run(place: Place, arguments: argparse.Namespace) -> int:
    try:
        if arguments.action == "list":
            return await _list(place, arguments)
        if arguments.action == "show":
            return await _show(place, arguments)
        if arguments.action == "export":
            return await _export(place)
        change = dead_change.retry if arguments.action == "retry" else dead_change.purge
        return await change(place, arguments)
    finally:
        place.say_left_out()
        await place.close()


async def _list(place: Place, arguments: argparse.Namespace) -> int:
    found: list[Letter | WorkerLetter] = []
    more = False
    async for page in place.pages(newest_first=True):
        found += page
        if more := len(found) > arguments.limit:
            break
    if not found:
        place.check_found()
    shown = found[: arguments.limit]
    if arguments.json:
        for letter in shown:
            print(_line(letter))
        return 0
    now_ms = time.time_ns() // 1_000_000
    for line in dead_text.listed(shown, now_ms, dead_text.columns()):
        print(line)
    if not shown:
        print("no dead letters" if not place.is_filtered else "no dead letter is so")
    elif more:
        print(f"the newest {len(shown)}; there are more: --limit N shows them")
    return 0


async def _show(place: Place, arguments: argparse.Namespace) -> int:
    letter = await place.get(arguments.id)
    if letter is None:
        raise BridgeError(_NOT_FOUND.format(arguments.id))
    if arguments.as_test:
        print(_test(place, letter), end="")
    elif arguments.json:
        print(json.dumps(_json(letter), indent=2))
    elif isinstance(letter, WorkerLetter):
        print("\n".join(dead_text.worker_letter(letter)))
    else:
        print("\n".join(dead_text.letter(letter, place.place_of(letter))))
    return 0


def _test(place: Place, letter: Letter | WorkerLetter) -> str:
    if isinstance(letter, WorkerLetter):
        raise UsageError("--as-test: a message of a worker is no event")
    if place.config is None:
        raise UsageError("--as-test needs --config: the test is for its routes")
    if letter.source not in place.config.sources:
        raise BridgeError(f"the configuration has no source {letter.source}: no test can have {letter.id}")
    if "payload" in letter.redacted:
        raise BridgeError(
            f"the body of {letter.id} was left out by dead_letters.redact: a test would be one of another event"
        )
    if letter.body_cut or letter.topic_cut:
        part = "body" if letter.body_cut else "topic"
        raise BridgeError(f"the {part} of {letter.id} was cut: a test would be one of another event")
    try:
        return as_test(place.config, letter.event(place.config), f"dead letter {letter.id}")
    except InvalidValue as error:
        raise BridgeError(f"no test can have {letter.id}: {error}") from None


async def _export(place: Place) -> int:
    async for page in place.pages():
        for letter in page:
            sys.stdout.write(f"{_line(letter)}\n")
    return 0


def _json(letter: Letter | WorkerLetter) -> dict[str, object]:
    return letter_json(letter) if isinstance(letter, Letter) else worker_letter_json(letter)


def _line(letter: Letter | WorkerLetter) -> str:
    # ASCII only: no byte of a stranger steers a terminal.
    return json.dumps(_json(letter), separators=(",", ":"))
