"""JSON as a body, one value or one on each line: strict, and of a bounded depth."""

from __future__ import annotations

from typing import Final

import msgspec

from bridge.errors import BadEvent
from bridge.model.event import Event
from bridge.model.json_limits import EXPONENTS_FROM_BYTES, check_exponents, nests_deeper
from bridge.routing.body_check import MAX_DEPTH
from bridge.routing.refusal import Decode, Refuse

_LARGE_BODY_BYTES: Final = 1024
#: A list of `ndjson` has so many lines at most.
MAX_LINES: Final = 10_000

_json = msgspec.json.Decoder().decode


def json_decoder(refuse: Refuse) -> Decode:
    """Return the decoder of JSON."""

    def decode_json(event: Event) -> object:
        body = event.body
        # msgspec checks UTF-8, surrogates, NaN, 1e999 and the 4,300 digits, but not the depth.
        try:
            if len(body) > EXPONENTS_FROM_BYTES:
                check_exponents(body)
            payload = _json(body)
        except (ValueError, RecursionError) as error:  # msgspec.DecodeError and UnicodeDecodeError are ValueErrors
            return refuse("json", event, error)
        # Most bodies are short or one flat object (no bracket after the first byte): they skip the count.
        if (
            len(body) > 2 * MAX_DEPTH
            and (body.find(b"{", 1) >= 0 or body.find(b"[", 1) >= 0)
            and _may_nest(body)
            and type(payload) in (dict, list)
        ):
            check_depth(payload)
        return payload

    return decode_json


def lines_decoder(refuse: Refuse) -> Decode:
    """Return the decoder of JSON by lines: of a list, without the empty lines."""

    def decode_lines(event: Event) -> object:
        body, number = event.body, 0
        if body.count(b"\n", 0, len(body) - 1) >= MAX_LINES:
            return refuse("ndjson", event, ValueError(f"more than {MAX_LINES} lines"))
        payload = []
        try:
            if len(body) > EXPONENTS_FROM_BYTES:
                check_exponents(body)
            for line in body.split(b"\n"):
                number += 1
                if line.strip():
                    payload.append(_json(line))
        except (ValueError, RecursionError) as error:
            return refuse("ndjson", event, ValueError(f"line {number}: {error}"))
        if not payload:
            return refuse("ndjson", event, ValueError("the body is empty"))
        check_depth(payload)
        return payload

    return decode_lines


def _may_nest(body: bytes) -> bool:
    """Return whether the body has enough brackets to nest deeper than MAX_DEPTH."""
    if len(body) < _LARGE_BODY_BYTES:
        return body.count(b"[") + body.count(b"{") > MAX_DEPTH
    # In a large body with few brackets `find` is far faster than `count`.
    brackets = 0
    for bracket in (b"[", b"{"):
        position = body.find(bracket)
        while position >= 0:
            brackets += 1
            if brackets > MAX_DEPTH:
                return True
            position = body.find(bracket, position + 1)
    return False


def check_depth(payload: object) -> None:
    """Check that a value nests at most MAX_DEPTH deep.

    Raises:
        BadEvent: it nests deeper.
    """
    if nests_deeper(payload, MAX_DEPTH):
        raise BadEvent("decode", f"nested more than {MAX_DEPTH} deep")
