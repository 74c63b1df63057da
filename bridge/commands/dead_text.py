"""Dead letters as lines of a terminal: every text of a stranger escaped, and cut."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from bridge.commands.layout import fit, spell_bytes, spell_number, spell_span
from bridge.dead_letters.letters import Letter
from bridge.dead_letters.workers import WorkerLetter
from bridge.observe.log_fields import cut, escape

#: Of a body, in characters; `--json` shows all of it.
_MAX_BODY: Final = 16_384
_PIPE_COLUMNS: Final = 160
_LAST_MS: Final = 253_402_300_799_999


def columns() -> int:
    """Return the width of the lines of a list."""
    if not sys.stdout.isatty():
        return _PIPE_COLUMNS
    return max(os.get_terminal_size(sys.stdout.fileno()).columns, 60)


def listed(letters: Sequence[Letter | WorkerLetter], now_ms: int, width: int) -> Iterator[str]:
    """Yield two lines for each letter: its id, age and place; and the error."""
    for one in letters:
        age = spell_span((now_ms - one.dead_at_ms) / 1000)
        if isinstance(one, WorkerLetter):
            parts = [one.id, f"{age} ago", f"queue {one.queue}", one.actor or "(no message)"]
        else:
            parts = [one.id, f"{age} ago", one.reason or "(no reason)", one.source]
            parts += [f"route {one.route}"] if one.route else []
            parts += (
                [f"failed again {spell_number(one.retries)} times" if one.retries > 1 else "failed again"]
                if one.retries
                else []
            )
            parts += [one.topic] if one.topic else []
        yield fit("  ".join(escape(cut(part)) for part in parts), width)
        yield fit(f"    {escape(cut(one.error)) or '(no error)'}", width)


def letter(one: Letter, place: str) -> list[str]:
    """Return the lines of a letter; `place` is that of its route in the file."""
    route = f"{one.route} ({place})" if place else one.route
    fields: list[tuple[str, str]] = [
        ("id", one.id),
        ("dead since", _time(one.dead_at_ms)),
        ("reason", one.reason),
        ("error", one.error),
        ("source", one.source),
        ("route", route or "none: it failed before any route"),
        ("topic", f"{one.topic} (cut)" if one.topic_cut else one.topic),
        ("received", _time(one.received_at_ms)),
    ]
    if one.headers:
        fields.append(("headers", _value(one.headers)))
    if one.meta:
        fields.append(("meta", _value(one.meta)))
    if one.details_error:
        fields.append(("left out", one.details_error))
    if one.redacted:
        fields.append(("redacted", ", ".join(one.redacted)))
    if one.retries:
        fields.append(("retries", f"{spell_number(one.retries)} failed; before, the oldest first:"))
        fields += [("", f"{_time(each.at_ms)}  {each.reason}: {each.error}") for each in one.earlier]
    size = f"{spell_bytes(one.body_size)}, of which {spell_bytes(len(one.body))} are here" if one.body_cut else ""
    fields.append(("body", size or spell_bytes(one.body_size)))
    return [*_lines(fields), *_body(one.body)]


def worker_letter(one: WorkerLetter) -> list[str]:
    """Return the lines of a message that a worker has given up."""
    message, options = one.message, dict(one.options)
    traceback = str(options.pop("traceback", "") or "")
    fields = [
        ("id", one.id),
        ("dead since", _time(one.dead_at_ms)),
        ("queue", one.queue),
        ("actor", one.actor or "(the body is no message)"),
    ]
    if message:
        fields += [
            ("message_id", one.message_id),
            ("args", _value(message.get("args"))),
            ("kwargs", _value(message.get("kwargs"))),
            ("options", _value(options)),
        ]
    lines = _lines(fields)
    if traceback:
        lines += ["traceback", *(f"    {escape(line)}" for line in traceback[-_MAX_BODY:].splitlines())]
    return lines if message else [*lines, "body", *_body(one.body)]


def _lines(fields: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{name:11} {escape(value)}" for name, value in fields]


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_BODY else f"{text[:_MAX_BODY]}… ({len(text)} characters)"


def _time(milliseconds: int) -> str:
    if not 0 < milliseconds <= _LAST_MS:
        return str(milliseconds)
    return datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _body(body: bytes) -> list[str]:
    """Return a body as indented lines: JSON with line breaks, other text as it is, bytes in hexadecimal."""
    if not body:
        return []
    try:
        text = body.decode()
    except UnicodeDecodeError:
        shown = body[: _MAX_BODY // 2].hex(" ")
        rows = [shown[at : at + 96] for at in range(0, len(shown), 96)]
        return [f"    {row}" for row in rows] + _rest(len(body) - _MAX_BODY // 2, "bytes")
    with suppress(ValueError, RecursionError):
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    lines = [f"    {escape(line)}" for line in text[:_MAX_BODY].split("\n")]
    return lines + _rest(len(text) - _MAX_BODY, "characters")


def _rest(left_out: int, unit: str) -> list[str]:
    return [f"    … {spell_number(left_out)} more {unit}: --json shows them"] if left_out > 0 else []
