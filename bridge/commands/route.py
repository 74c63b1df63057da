"""`route CONFIG --from S --topic T --payload BODY`: which routes fit, why the others don't, and their messages."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from bridge.commands.paint import Paint
from bridge.commands.send import parse_pairs
from bridge.config.files import UnreadableFile, named, read_file
from bridge.config.loading import PIPE_TIMEOUT_S, load_with_places
from bridge.config.source_model import SourceModel
from bridge.config.substitution import Substitution
from bridge.config.times import parse_time
from bridge.config.units import spell_duration, spell_size
from bridge.dry_run.events import event_without_body, with_body
from bridge.dry_run.masking import Masking
from bridge.dry_run.results import FITS, Result, RouteResult
from bridge.dry_run.runs import DryRun
from bridge.errors import InvalidValue, UsageError
from bridge.model.event import Event
from bridge.observe.log_fields import escape
from bridge.routing.compiler import check_routes

EX_NO_ROUTE: Final = 3
EX_DEAD_LETTER: Final = 4
_MAX_BODY: Final = 64 << 20
#: Of milliseconds up to the year 9999.
_MAX_DIGITS: Final = 15
#: The option of each part of an event.
_OPTIONS: Final[dict[str | int, str]] = {
    "topic": "--topic",
    "headers": "--header",
    "meta": "--meta",
    "body": "--payload",
}
_EXPECTATION: Final = re.compile(r"fits:(?P<route>.+)|none|dead-letter")


def main(arguments: argparse.Namespace) -> int:
    """Print what each route of the source makes of this event.

    Returns:
        0 if a route fits, EX_DEAD_LETTER if the event becomes a dead letter, otherwise EX_NO_ROUTE; with `--expect`, 0
        if it is as expected, otherwise 1.
    """
    expected = _expectation(arguments.expect)
    substitution = Substitution(os.environ, allow_unset=True)
    file = load_with_places(arguments.config, substitution, check_routes)
    loaded, masking = file.model, Masking([file.document])
    if arguments.source not in loaded.sources:
        names = ", ".join(loaded.sources)
        raise UsageError(f"--from: no source {arguments.source!r} in {arguments.config}; it has {names}")
    now_ms = time.time_ns() // 1_000_000 if arguments.at is None else _time(arguments.at)
    if expected and expected not in {route.name for route in loaded.routes}:
        raise UsageError(f"--expect: no route {expected!r} in {arguments.config}")
    result = DryRun(loaded).run(_event(arguments, loaded.sources[arguments.source], now_ms), now_ms)
    unset = list(dict.fromkeys(substitution.unset))
    if arguments.json:
        print(json.dumps({**_json(result, masking), "unset": unset}, indent=2))
    else:
        print(_text(result, masking, Paint(arguments.color)))
        for name in unset:
            print(f"note: ${{{name}}} has no value here; a placeholder stands for it")
    return _code(result) if arguments.expect is None else _as_expected(result, arguments.expect, expected)


def _expectation(text: str | None) -> str:
    """Return the route that `--expect` names, or ""."""
    match = _EXPECTATION.fullmatch(text or "none")
    if match is None:
        raise UsageError(f"--expect takes fits:ROUTE, none or dead-letter, not {text!r}")
    return match["route"] or ""


def _time(text: str) -> int:
    try:
        return parse_time(int(text) if text.isdecimal() and len(text) <= _MAX_DIGITS else text)
    except InvalidValue as error:
        raise UsageError(f"--at {error}") from None


def _event(arguments: argparse.Namespace, source: SourceModel, now_ms: int) -> Event:
    """Return the event; a value of `--header` or `--meta` is JSON only where the protocol's may be more than text."""
    properties = source.traits.properties(source)
    headers = parse_pairs(arguments.header, "--header", lambda _: properties.headers == "text")
    texts = {name for name, known in properties.meta.items() if known.is_text}
    meta = parse_pairs(arguments.meta, "--meta", texts.__contains__)
    # Arguments are bytes; Python shows those that are not UTF-8 as lone surrogates.
    topic = os.fsencode(arguments.topic).decode("utf-8", "backslashreplace")
    body = _body(arguments.payload)
    try:
        return with_body(
            event_without_body(arguments.source, source, topic, headers, meta, now_ms), source, body, ("body",)
        )
    except InvalidValue as error:
        first = error.diagnostics[0]
        option = _OPTIONS[first.path[0]]
        name = "".join(f" {part}" for part in first.path[1:])
        raise UsageError(f"{option}{name}: {first}") from None


def _body(text: str) -> bytes:
    """Return the body that `--payload` gives: itself, a file's, or that of standard input."""
    if text == "-":
        body = sys.stdin.buffer.read(_MAX_BODY + 1)
        if len(body) > _MAX_BODY:
            raise UsageError(f"--payload: standard input is larger than {spell_size(_MAX_BODY)}")
        return body
    if not text.startswith("@"):
        return os.fsencode(text)
    try:
        return read_file(text[1:], _MAX_BODY, pipe_timeout_s=PIPE_TIMEOUT_S)
    except UnreadableFile as error:
        raise UsageError(f"--payload: {named(text[1:])} {error}") from None


def _code(result: Result) -> int:
    if result.dead_letters:
        return EX_DEAD_LETTER
    return 0 if result.messages else EX_NO_ROUTE


def _as_expected(result: Result, text: str, route: str) -> int:
    code = _code(result)
    if route:
        met = any(one.route == route for one in result.messages)
    else:
        met = code == (EX_NO_ROUTE if text == "none" else EX_DEAD_LETTER)
    if not met:
        print(f"dramatiq-bridge: not as expected: {text}", file=sys.stderr)
    return 0 if met else 1


def _json(result: Result, masking: Masking) -> dict[str, Any]:
    code = _code(result)
    outcome = {0: "fits", EX_NO_ROUTE: "none", EX_DEAD_LETTER: "dead-letter"}[code]
    whole: dict[str, Any] = {"result": outcome, "routes": [_route_json(one, masking) for one in result.explained()]}
    if result.dead_letter is not None:
        whole |= {"dead_letter": result.dead_letter.reason, "why": masking.text(result.dead_letter.detail)}
    elif result.not_brought:
        whole |= {"why": result.not_brought}
    return whole


def _route_json(one: RouteResult, masking: Masking) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "route": one.route,
        "verdict": one.verdict,
        "fits": one.verdict in FITS,
    }
    if one.captures:
        shown["captures"] = masking.value(one.captures)
    if one.dead_letter is not None:
        shown |= {"dead_letter": one.dead_letter.reason, "why": masking.text(one.dead_letter.detail)}
    elif one.messages:
        shown |= {"messages": masking.value(one.messages)}
        if any(one.gates):
            shown["gates"] = masking.value(one.gates)
    else:
        shown["why"] = masking.text(one.why)
    if one.deduplicated:
        shown["deduplicated"] = one.deduplicated
    if one.falsehoods:
        parts = [{"part": each.part, "values": each.values, "error": each.error} for each in one.falsehoods]
        shown["false"] = masking.value(parts)
    return shown


def _text(result: Result, masking: Masking, paint: Paint) -> str:
    def plain(text: str) -> str:
        return escape(masking.text(text))  # in this order: a secret may hold a line break

    lines = []
    for one in result.explained():
        name = paint(one.route, "bold")
        if one.messages:
            queues = list(dict.fromkeys(message["queue_name"] for message in one.messages))
            to = f"to queue{'s' if len(queues) > 1 else ''} {', '.join(queues)}"
            many = f"; {len(one.messages)} messages" if len(one.messages) > 1 else ""
            lines.append(f"{name}: {paint('fits', 'green')}{many}; {to}:")
            for message, gates in zip(one.messages, one.gates, strict=True):
                lines.append(json.dumps(masking.value(message), indent=2))
                lines += _gates(gates)
            if one.deduplicated:
                lines.append(f"{one.deduplicated} more: not written, since their keys are those of messages above")
        elif one.dead_letter is not None:
            lines.append(
                f"{name}: {paint('dead letter', 'red')} ({one.dead_letter.reason}): {plain(one.dead_letter.detail)}"
            )
        else:
            lines.append(f"{name}: {paint(plain(one.why), 'dim')}")
    if result.dead_letter is not None:
        letter = result.dead_letter
        lines.append(f"event: {paint('dead letter', 'red')} ({letter.reason}): {plain(letter.detail)}")
    elif result.not_brought:
        lines.append(f"event: {paint(plain(result.not_brought), 'yellow')}")
    elif result.unmatched:
        lines.append("event: no route's topic fits: it is dropped (unmatched: drop)")
    return masking.text("\n".join(lines))


def _gates(gates: dict[str, Any]) -> Iterator[str]:
    """Yield the gates of a message; whether its key is remembered, Redis alone knows."""
    for name, gate in gates.items():
        within = spell_duration(gate["within_ms"])
        yield f"  {name}: written unless one with the key {json.dumps(gate['key'])} was written within {within}"
