"""A letter as one line of JSON, which loads back without a loss: for exports, and for every program that shows letters."""

from __future__ import annotations

import base64
from typing import Any, Final

import msgspec

from bridge.dead_letters.letters import Earlier, Letter
from bridge.dead_letters.workers import WorkerLetter

#: The version of a line: a later one may add keys, and changes none.
VERSION: Final = 1


def letter_json(letter: Letter) -> dict[str, Any]:
    """Return a letter as values of JSON; the body as text where it is UTF-8, otherwise in base64."""
    return {
        "version": VERSION,
        "id": letter.id,
        "dead_at": letter.dead_at_ms,
        "reason": letter.reason,
        "error": letter.error,
        "source": letter.source,
        "route": letter.route,
        "topic": letter.topic,
        **({"topic_cut": True} if letter.topic_cut else {}),
        "received_at": letter.received_at_ms,
        "headers": letter.headers,
        "meta": letter.meta,
        **({"details_error": letter.details_error} if letter.details_error else {}),
        **({"redacted": list(letter.redacted)} if letter.redacted else {}),
        **({"retries": letter.retries} if letter.retries else {}),
        **({"earlier": msgspec.to_builtins(letter.earlier)} if letter.earlier else {}),
        "body_size": letter.body_size,
        "body_cut": letter.body_cut,
        **_body(letter.body),
        "size": letter.size,
    }


def letter_of_json(line: dict[str, Any]) -> Letter:
    """Return the letter that `letter_json` has made this of."""
    same = ("id", "reason", "error", "source", "route", "topic", "headers", "meta", "body_size", "body_cut", "size")
    return Letter(
        **{name: line[name] for name in same},
        received_at_ms=line["received_at"],
        topic_cut=line.get("topic_cut", False),
        details_error=line.get("details_error", ""),
        redacted=tuple(line.get("redacted", ())),
        retries=line.get("retries", 0),
        earlier=tuple(msgspec.convert(line.get("earlier", []), list[Earlier])),
        body=_body_of(line),
    )


def worker_letter_json(letter: WorkerLetter) -> dict[str, Any]:
    """Return a letter of the workers as values of JSON: its body as it is, and its parts for a reader."""
    return {
        "version": VERSION,
        "id": letter.id,
        "dead_at": letter.dead_at_ms,
        "queue": letter.queue,
        "actor": letter.actor,
        "message_id": letter.message_id,
        "error": letter.error,
        **_body(letter.body),
    }


def _body(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


def _body_of(line: dict[str, Any]) -> bytes:
    return base64.b64decode(line["body_base64"]) if "body_base64" in line else str(line["body"]).encode()
