"""The headers of a trace, as W3C Trace Context and W3C Baggage define them: read strictly, or refused with the cause.

The headers come from any publisher and go to workers, so that nothing passes here that a worker's library might not expect.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
BAGGAGE: Final = "baggage"

#: All of them.
OF_A_TRACE: Final = frozenset({TRACEPARENT, TRACESTATE, BAGGAGE})

#: Of a version that is not known yet, a traceparent may be longer than the 55 characters of version 00.
_MAX_TRACEPARENT: Final = 512
_MAX_TRACESTATE: Final = 512
_MAX_TRACESTATE_MEMBERS: Final = 32
_MAX_BAGGAGE: Final = 8192
_MAX_BAGGAGE_MEMBERS: Final = 180
_SAMPLED: Final = 1

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_TRACESTATE_MEMBER: Final = re.compile(
    r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a token of a grammar
_VALUE: Final = r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*"
_BAGGAGE_MEMBER: Final = re.compile(
    rf"{_TOKEN}[ \t]*=[ \t]*{_VALUE}(?:[ \t]*;[ \t]*{_TOKEN}(?:[ \t]*=[ \t]*{_VALUE})?)*"
)


class InvalidTrace(ValueError):
    """A header of a trace that is left out; the text says why, without the header's value."""


class Trace(msgspec.Struct, frozen=True, gc=False):
    """The trace that an event belongs to: its parent's ids in hexadecimal digits, and two of flags.

    `state` is a tracestate, and `baggage` a baggage, each "" where there is none.
    """

    trace_id: str
    span_id: str
    flags: str
    state: str = ""
    baggage: str = ""

    @property
    def sampled(self) -> bool:
        """Whether the trace is recorded."""
        return bool(int(self.flags, 16) & _SAMPLED)

    @property
    def traceparent(self) -> str:
        """The header of version 00."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def combined(name: str, before: object, value: str) -> object:
    """Return the value of a header that stands twice in an event: the last one; of a trace both, as HTTP combines them.

    Several traceparents are none then, and a tracestate goes on in the next header.
    """
    if name not in OF_A_TRACE or not isinstance(before, str) or len(before) > _MAX_BAGGAGE:
        return before if name in OF_A_TRACE else value
    return f"{before},{value}"


def read_traceparent(value: object) -> Trace:
    """Return the trace of a traceparent.

    Of a version that is newer than 00 only the ids and the flag `sampled` are known, as the recommendation says.

    Raises:
        InvalidTrace: it is malformed.
    """
    text = _text(TRACEPARENT, value, _MAX_TRACEPARENT)
    match = _TRACEPARENT.fullmatch(text)
    if match is None:
        several = "there are several of them" if "," in text else "it is no version, ids and flags of lower-case digits"
        raise InvalidTrace(f"{TRACEPARENT}: {several}")
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff":
        raise InvalidTrace(f"{TRACEPARENT}: there is no version ff")
    if version == "00" and more is not None:
        raise InvalidTrace(f"{TRACEPARENT}: version 00 has 55 characters")
    if not (trace_id.strip("0") and span_id.strip("0")):
        raise InvalidTrace(f"{TRACEPARENT}: an id is all zeros")
    if version != "00":
        flags = f"{int(flags, 16) & _SAMPLED:02x}"
    return Trace(trace_id, span_id, flags)


def read_tracestate(value: object) -> str:
    """Return a tracestate without empty members.

    Raises:
        InvalidTrace: it is malformed, or too long.
    """
    text = _text(TRACESTATE, value, _MAX_TRACESTATE)
    return _checked_members(TRACESTATE, text, _MAX_TRACESTATE_MEMBERS, _TRACESTATE_MEMBER)


def read_baggage(value: object) -> str:
    """Return a baggage without empty members.

    Raises:
        InvalidTrace: it is malformed, or too long.
    """
    text = _text(BAGGAGE, value, _MAX_BAGGAGE)
    return _checked_members(BAGGAGE, text, _MAX_BAGGAGE_MEMBERS, _BAGGAGE_MEMBER)


def _checked_members(name: str, text: str, at_most: int, member: re.Pattern[str]) -> str:
    members = _members(name, text, at_most)
    if not all(map(member.fullmatch, members)):
        raise InvalidTrace(f"{name}: a member is no key and value")
    return ",".join(members)


def _text(name: str, value: object, longest: int) -> str:
    if type(value) is not str:  # not isinstance: to ask a redacted value of a dead letter for its class is to read it
        raise InvalidTrace(f"{name}: it is no text")
    if len(value) > longest:
        raise InvalidTrace(f"{name}: it is longer than {longest} characters")
    return value


def _members(name: str, text: str, most: int) -> list[str]:
    members = [member for part in text.split(",") if (member := part.strip(" \t"))]
    if len(members) > most:
        raise InvalidTrace(f"{name}: it has more than {most} members")
    return members
