"""A body, read outside the router: its payload, its kind, and whether it had to be repaired."""

from __future__ import annotations

from typing import NamedTuple

from bridge.config import Config
from bridge.config.source_model import SourceModel
from bridge.model.event import Event
from bridge.routing.decoding import format_of
from bridge.routing.repair import Repairs


class ReadBody(NamedTuple):
    """A body and its payload; `kind` is never "auto"."""

    body: bytes
    kind: str
    payload: object
    is_repaired: bool

    @property
    def is_text(self) -> bool:
        """Whether the payload is a text as it was sent, in which JSON may stand."""
        return self.kind == "text" or (self.kind == "json-or-text" and isinstance(self.payload, str))


class Reader:
    """Reads bodies by one kind of `decode`."""

    def __init__(self, kind: str, repairs: Repairs | None = None) -> None:
        self.kind = kind
        self._repairs = repairs or Repairs()
        self._decode = self._repairs.decoder(kind)

    def read(self, event: Event) -> ReadBody:
        """Return the payload of an event.

        Raises:
            BadEvent: the body is not of this kind.
        """
        kind = format_of(self.kind, event)
        self._repairs.counts = {}
        payload = self._decode(event)
        return ReadBody(event.body, kind, payload, bool(self._repairs.counts))


def source_kind(source: SourceModel) -> str:
    """Return the `decode` of a source."""
    return "json" if source.traits.presents_json(source) else source.decode


def route_kinds(config: Config, name: str) -> list[str]:
    """Return the kinds by which the routes of a source read its bodies where that is not the source's own."""
    own = source_kind(config.sources[name])
    kinds = [route.decode for route in config.routes if route.source == name and route.decode not in (None, own)]
    return list(dict.fromkeys(map(str, kinds)))


def readers(config: Config, name: str) -> list[Reader]:
    """Return each way in which a source, or a route of it, reads a body; the source's own comes first."""
    repairs = Repairs.of(config.sources[name])
    return [Reader(kind, repairs) for kind in (source_kind(config.sources[name]), *route_kinds(config, name))]
