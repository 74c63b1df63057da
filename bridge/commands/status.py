"""`status`: how a running bridge stands, for a person in a hurry."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator
from typing import Final

import msgspec

from bridge.commands.admin_client import Status, Unreachable
from bridge.commands.condition import condition, paused_routes, plain
from bridge.commands.daemon import find_daemon
from bridge.commands.layout import spell_bytes, spell_number, spell_span, table, wrap
from bridge.commands.paint import Paint
from bridge.model.accounting import Counts
from bridge.model.state import SourceState
from bridge.redis_io.keys import dead_letters_key

#: In columns: longer lines are hard to read, shorter ones hold no number.
_MIN_WIDTH: Final = 40
_MAX_WIDTH: Final = 120
#: Problems that are shown; a bridge may have 1,000 sources.
_MAX_PROBLEMS: Final = 10
#: Routes of one source that left messages or events out.
_MAX_GATED: Final = 10

#: In columns, before the values of the whole bridge.
_VALUES: Final = 11

_Line = tuple[str, str]


def main(arguments: argparse.Namespace) -> int:
    """Print the status; return 0 if the bridge is ready, otherwise 1.

    Raises:
        BridgeError: it can't be reached.
    """
    daemon = find_daemon(arguments)
    if arguments.json:
        body = daemon.status_json()
        try:
            ready = msgspec.json.decode(body, type=_Ready).ready
        except msgspec.DecodeError as error:
            raise Unreachable(f"{daemon.address} answers, and is no dramatiq-bridge: {error}") from None
        print(body.decode(errors="replace"))
        return 0 if ready else 1
    status = daemon.status()
    width = max(_MIN_WIDTH, min(shutil.get_terminal_size().columns, _MAX_WIDTH))
    paint = Paint(arguments.color)
    for text, color in _lines(status, width, time.time()):
        print(paint(text, color) if color else text)
    return 0 if status.ready else 1


class _Ready(msgspec.Struct):
    ready: bool


def _lines(status: Status, width: int, now: float) -> Iterator[_Line]:
    """Yield the lines, each with its colour, or ""."""
    up = spell_span(now - status.started_at)
    if status.ready:
        yield f"dramatiq-bridge {plain(status.version)}: ready, up {up}", "green"
    else:
        phase = "" if status.phase == "running" else f" ({status.phase})"
        yield f"dramatiq-bridge {plain(status.version)}: NOT READY{phase}, up {up}", "red"
    for problem in status.problems[:_MAX_PROBLEMS]:
        yield from _wrapped(f"  {plain(problem)}", width, color="" if status.ready else "red")
    if len(status.problems) > _MAX_PROBLEMS:
        yield f"  and {len(status.problems) - _MAX_PROBLEMS} problems more: see --json", ""
    yield from _whole(status, width, now)
    yield "", ""
    if not status.sources:
        yield "sources    not known yet: a moment after its start each process says how they stand", "yellow"
    names = sorted(status.sources, key=lambda name: -condition(status, name).gravity)
    for name in names:
        yield from _source(status, name, width)
    yield "", ""
    yield from _queues(status, width)
    letters = sum(source.counts.dead_lettered for source in status.sources.values())
    if letters:
        key = plain(dead_letters_key(status.namespace))
        yield from _wrapped(
            f"dead letters  of {spell_number(letters)} {'event' if letters == 1 else 'events'}; those left are in {key}: dramatiq-bridge dead list",
            width,
            color="yellow",
        )


def _whole(status: Status, width: int, now: float) -> Iterator[_Line]:
    """Yield the lines on the configuration, the processes and the sink."""
    loaded = f"loaded {spell_span(now - status.loaded_at)} ago"
    yield from _wrapped(f"config     {plain(status.config)} ({plain(status.fingerprint)[:12]}), {loaded}", width)
    if status.reloads or status.reload_cause:
        results = ", ".join(f"{count:,} {plain(result)}" for result, count in status.reloads.items())
        yield from _wrapped(f"reloads    {results or 'none'}", width)
        if status.reload_cause:
            cause = plain(status.reload_cause)
            yield from _wrapped(f"           the last one that changed nothing: {cause}", width, color="yellow")
    if status.expected > 1 or status.processes < status.expected:
        color = "red" if status.processes < status.expected else ""
        yield f"processes  {status.processes} of {status.expected} are ready", color
    sink = status.sink
    where = f"sink       {plain(status.sink_url)}, namespace {plain(status.namespace)}"
    tried = f"; {spell_number(sink.retries)} writes tried again" if sink.retries else ""
    if not sink.available:
        yield from _wrapped(
            f"{where}: takes no writes: {plain(sink.cause) or 'not known yet'}{tried}", width, color="red"
        )
    elif sink.unready:
        yield from _wrapped(f"{where}: takes writes, and must not: {plain(sink.unready)}{tried}", width, color="red")
    else:
        yield from _wrapped(f"{where}: takes writes{tried}", width)
    if status.lag_s >= 1:
        yield f"event loop  late by {spell_span(status.lag_s)} of late: the machine is too busy", "yellow"
    if paused := _paused(status):
        yield from _wrapped(f"paused     {paused}; `dramatiq-bridge resume NAME` ends it", width, color="yellow")


def _paused(status: Status) -> str:
    sources = [f"source {plain(name)}" for name, source in status.sources.items() if source.paused]
    return ", ".join([*sources, *(f"route {plain(name)}" for name in paused_routes(status))])


def _source(status: Status, name: str, width: int) -> Iterator[_Line]:
    source = status.sources[name]
    found = condition(status, name)
    why = f": {found.why}" if found.why else ""
    yield from _wrapped(f"{plain(name)} ({plain(source.type)})  {found.word}{why}", width, color=found.color)
    yield from _wrapped(f"  {_counts(source.counts)}", width, color="red" if source.counts.lost else "")
    yield from _gated(status, name, width)
    yield from _wrapped(f"  {_held(source)}", width)
    if source.counts.invalid_traces:
        text = f"  {spell_number(source.counts.invalid_traces)} events with a malformed trace, or a part of it: that was left out"
        yield from _wrapped(text, width, color="yellow")
    if repaired := ", ".join(
        f"{spell_number(count)} {name}" for name, count in source.counts.repaired.items() if count
    ):
        yield from _wrapped(f"  bodies were repaired to be read: {repaired}", width)
    if source.accounting_error:
        text = (
            f"  {source.accounting_error} events are not accounted for: this is a fault of the bridge, please report it"
        )
        yield from _wrapped(text, width, color="red")
    if source.guarantee:
        yield from _wrapped(f"  {plain(source.guarantee.replace('`', ''))}", width, color="dim")


def _counts(counts: Counts) -> str:
    """Return the events that came, and the number of each class that has any."""
    came = f"{spell_number(counts.received)} received"
    if counts.recovered:
        came += f" and {spell_number(counts.recovered)} recovered from the spool"
    reasons = ", ".join(f"{spell_number(count)} {reason}" for reason, count in counts.reasons.items() if count)
    classes = {
        "enqueued": counts.enqueued,
        "filtered": counts.filtered,
        "unmatched": counts.unmatched,
        "deduplicated": counts.deduplicated,
        "expired": counts.expired,
        f"dead-lettered ({reasons})" if reasons else "dead-lettered": counts.dead_lettered,
        "returned": counts.returned,
        "LOST": counts.lost,
    }
    named = ", ".join(f"{spell_number(count)} {name}" for name, count in classes.items() if count)
    return f"{came}: {named}" if named else came


def _gated(status: Status, name: str, width: int) -> Iterator[_Line]:
    """Yield a line for each route of a source that left messages out for their keys, or events whose time was up."""
    gated = []
    for route in sorted(name_ for name_, each in status.routes.items() if each.source == name):
        counts = status.counts_of_route(route)
        left_out = {"messages deduplicated": counts.deduplicated, "events expired": counts.expired}
        if words := ", ".join(f"{spell_number(count)} {what}" for what, count in left_out.items() if count):
            gated.append((counts.deduplicated + counts.expired, f"  route {plain(route)}: {words}"))
    gated.sort(key=lambda each: -each[0])
    for _, text in gated[:_MAX_GATED]:
        yield from _wrapped(text, width)
    if len(gated) > _MAX_GATED:
        yield f"  and {len(gated) - _MAX_GATED} routes more left messages or events out: see --json", ""


def _held(source: SourceState) -> str:
    parts = [f"{spell_number(source.in_flight)} in flight"]
    if source.spooled:
        parts.append(f"{spell_number(source.spooled)} spooled ({spell_bytes(source.spooled_bytes)})")
    parts.append(f"window {min(source.fill, 1):.0%} full")
    if source.idle_s is not None:
        parts.append(f"last event {spell_span(source.idle_s)} ago")
    if source.reconnects:
        parts.append(f"{spell_number(source.reconnects)} {'reconnect' if source.reconnects == 1 else 'reconnects'}")
    return ", ".join(parts)


def _queues(status: Status, width: int) -> Iterator[_Line]:
    if status.queues_cause:
        yield from _wrapped(f"queues     not known: {plain(status.queues_cause)}", width, color="yellow")
    if not status.queues:
        return
    rows = [
        (plain(name), *map(spell_number, (queue.waiting, queue.delayed, queue.in_flight, queue.dead)))
        for name, queue in status.queues.items()
    ]
    head, *lines = table(("queue", "waiting", "delayed", "in flight", "dead"), rows, width)
    yield head, "bold"
    for line, queue in zip(lines, status.queues.values(), strict=True):
        yield line, "yellow" if queue.dead else ""


def _wrapped(text: str, width: int, *, color: str = "") -> Iterator[_Line]:
    """Yield a text in lines: those behind the first are below its value, or two columns further in."""
    lead = len(text) - len(text.lstrip())
    for line in wrap(text, width, " " * (lead + 2 if lead else _VALUES)):
        yield line, color
