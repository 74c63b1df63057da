"""The payloads of a source whose routes have a `decode` of their own: a body is read once by each kind that is asked for.

Where no route has one, the payload of an event is the value itself, and nothing of this runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from bridge.errors import BadEvent
from bridge.model.event import Event
from bridge.routing.refusal import Decode


class _Route(Protocol):
    @property
    def decode(self) -> str: ...


class Payloads:
    """The payloads of one event, by kind; that of the source has the kind ""."""

    __slots__ = ("_decoders", "_event", "_read")

    def __init__(self, event: Event, decoders: Mapping[str, Decode]) -> None:
        self._event = event
        self._decoders = decoders
        self._read: dict[str, object] = {}

    def read(self, kind: str) -> object:
        """Return the payload by a kind of decode.

        Raises:
            BadEvent: the body is none of that kind.
        """
        try:
            payload = self._read[kind]
        except KeyError:
            try:
                payload = self._decoders[kind](self._event)
            except BadEvent as error:
                payload = error
            self._read[kind] = payload
        if isinstance(payload, BadEvent):
            raise payload.with_traceback(None)
        return payload

    def readable(self) -> Iterator[object]:
        """Yield the payload of each kind that reads the body."""
        for kind in self._decoders:
            try:
                yield self.read(kind)
            except BadEvent:
                continue


def decoder(decoders: Mapping[str, Decode]) -> Decode:
    """Return the decoder of a source by these kinds: the source's own is ""."""
    return lambda event: Payloads(event, decoders)


def own_kinds(routes: Iterable[_Route]) -> list[str]:
    """Return the kinds of the routes that have a `decode` of their own; empty where the payload is the value itself."""
    return list(dict.fromkeys(route.decode for route in routes if route.decode))


def reading(kind: str, run: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function with the parameters of `Route.run`, which gives `run` the payload of one kind."""

    def run_with_payload(event: Event, payloads: Payloads, captures: object, ids: object) -> Any:
        return run(event, payloads.read(kind), captures, ids)

    return run_with_payload


def payload_of(kind: str, payload: object) -> object:
    """Return the payload that a route reads by its kind, of those that the router's decoder has returned.

    Raises:
        BadEvent: the body is not of this kind.
    """
    return payload.read(kind) if isinstance(payload, Payloads) else payload


def readable(payload: object) -> Iterator[object]:
    """Yield each payload that the routes of a source may read."""
    if isinstance(payload, Payloads):
        yield from payload.readable()
    else:
        yield payload
