"""The notes of `check` on bodies: keys without effect, fields that can't be redacted, and bodies that nobody can read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bridge.config import Config, SourceConfig
from bridge.errors import Diagnostic
from bridge.routing.body_reader import route_kinds, source_kind
from bridge.routing.content_encoding import ZSTD_EXTRA, zstd_module

#: Kinds whose values are no JSON, and no text in a charset.
_BINARY: Final = frozenset({"msgpack", "cbor", "bytes"})
_JSON: Final = frozenset({"json", "json-or-text", "ndjson", "auto"})


def body_notes(loaded: Config) -> Iterator[Diagnostic]:
    """Yield the notes on the bodies of a configuration without mistakes."""
    for name, source in loaded.sources.items():
        kinds = {source_kind(source), *route_kinds(loaded, name)}
        yield from _without_effect(name, source, kinds)
        if source.content_encoding == "zstd" and zstd_module() is None:
            text = f"sources.{name}: content_encoding: zstd needs a library that is not here: {ZSTD_EXTRA}"
            yield Diagnostic(("sources", name, "content_encoding"), text)
    for index, route in enumerate(loaded.routes):
        source_of_route = loaded.sources.get(route.source)
        if source_of_route is not None and route.decode == source_kind(source_of_route):
            text = f"route {route.name}: decode: {route.decode} is that of sources.{route.source}; leave it out"
            yield Diagnostic(("routes", index, "decode"), text)
    yield from _redaction(loaded)


def _without_effect(name: str, source: SourceConfig, kinds: set[str]) -> Iterator[Diagnostic]:
    if source.traits.presents_json(source):
        why = dict.fromkeys(
            ("decode", "content_encoding", "charset", "lenient", "empty"), "the payload is made of an entry's fields"
        )
    else:
        why = {}
        if kinds.isdisjoint(_JSON):
            why["lenient"] = "no body of it is read as JSON"
        if kinds <= _BINARY:
            why["charset"] = "no body of it is read as text"
    for key, cause in why.items():
        if key in source.model_fields_set and getattr(source, key) != type(source).model_fields[key].default:
            yield Diagnostic(("sources", name, key), f"sources.{name}: {key} has no effect: {cause}", at_key=True)


def _redaction(loaded: Config) -> Iterator[Diagnostic]:
    """Yield a note on each field to redact that payloads of bytes can't have: they are kept whole."""
    bytes_only = [
        name
        for name, source in loaded.sources.items()
        if source_kind(source) == "bytes" and not route_kinds(loaded, name)
    ]
    for index, path in enumerate(loaded.dead_letters.redact if bytes_only else ()):
        if path.startswith("payload."):
            text = f"dead_letters.redact: sources.{bytes_only[0]} has decode: bytes, so its payloads have no field {path}; write payload to redact them whole"
            yield Diagnostic(("dead_letters", "redact", index), text)
