"""Checks of several values at once: references, duplicates, and settings that exclude each other.

They look at the plain values and not at the models, so that their mistakes are reported together with all others of the
file, and not only once those are mended.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from bridge.config.connection import Connection
from bridge.config.document import Document
from bridge.config.dramatiq import Dramatiq
from bridge.config.sources import SOURCES
from bridge.config.substitution import Piece
from bridge.config.urls import split_url
from bridge.config.wording import near_miss, quoted, spell_path
from bridge.errors import Diagnostic, KeyPath

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]*")
_NAMES: Final = "a name is letters, digits, _ and -, and begins with a letter or _"
#: Characters that end the password, or the host, in a URL.
_RESERVED = re.compile(r"[/?#@\[\]\s]")


def check(document: Document) -> Iterator[Diagnostic]:
    """Yield every mistake that involves more than one value."""
    config = document.value
    if not isinstance(config, dict):
        return
    sources = config.get("sources")
    if isinstance(config.get("dramatiq"), dict):
        yield from _connection(config["dramatiq"], ("dramatiq",), document)
    if isinstance(sources, dict):
        shared = _SharedMistakes(config.get("defaults"), sources, document)
        yield from _misnamed("source", ("sources",), sources)
        for name, source in sources.items():
            path = ("sources", name)
            if isinstance(source, dict):
                yield from map(shared.placed, _of_source(source, path, document))
        yield from _exclusive(sources, document)
    if isinstance(tables := config.get("tables"), dict):
        yield from _misnamed("table", ("tables",), tables)
    routes = config.get("routes")
    if isinstance(routes, list):
        yield from _routes(routes, sources if isinstance(sources, dict) else None, document)


def _misnamed(what: str, path: KeyPath, named: Iterable[str]) -> Iterator[Diagnostic]:
    for name in named:
        if not _NAME.fullmatch(name):
            yield Diagnostic((*path, name), f"a {what} cannot be named {quoted(name)}", _NAMES, at_key=True)


def _routes(routes: list[Any], sources: dict[str, Any] | None, document: Document) -> Iterator[Diagnostic]:
    names: dict[str, int] = {}
    for index, route in enumerate(routes):
        if not isinstance(route, dict):
            continue
        source, name = route.get("from"), route.get("name")
        if isinstance(source, str) and sources is not None and source not in sources:
            hint = near_miss(source, sources) or (f"sources: {', '.join(islice(sources, 20))}" if sources else "")
            yield Diagnostic(("routes", index, "from"), f"no source is named {quoted(source)}", hint)
        if isinstance(name, str):
            if not _NAME.fullmatch(name):
                yield Diagnostic(("routes", index, "name"), f"a route cannot be named {quoted(name)}", _NAMES)
            if name in names:
                message = f"the name {quoted(name)} is taken"
                first = document.other_place(("routes", names[name]), ("routes", index))
                yield Diagnostic(("routes", index, "name"), message, f"{first} has it")
            names.setdefault(name, index)


def _of_source(source: dict[str, Any], path: KeyPath, document: Document) -> Iterator[Diagnostic]:
    yield from _connection(source, path, document)
    yield from _source(source, path)


class _SharedMistakes:
    """Tells the mistakes among defaults from those between a default and a key of a source's own."""

    def __init__(self, defaults: object, sources: dict[str, Any], document: Document) -> None:
        self._document = document
        self._heirs = Counter(document.written.values())
        each = defaults.items() if isinstance(defaults, dict) else ()
        settings = {kind: own for kind, own in each if isinstance(own, dict)}
        #: By path and message those of each type alone, with the number of sources that have them too.
        self._counts = {
            (diagnostic.path, diagnostic.message): 0
            for kind, own in settings.items()
            for diagnostic in _of_source({**own, "type": kind}, ("defaults", kind), document)
        }
        for name, source in sources.items() if self._counts else ():
            for diagnostic in _of_source(source, ("sources", name), document) if isinstance(source, dict) else ():
                key = (document.path_in_file(diagnostic.path), diagnostic.message)
                if key in self._counts:
                    self._counts[key] += 1

    def placed(self, diagnostic: Diagnostic) -> Diagnostic:
        """Return a mistake in a source; it is one of the defaults if all that have the default have the mistake."""
        path = self._document.path_in_file(diagnostic.path)
        if path[0] != "defaults":
            return diagnostic
        if self._counts.get((path, diagnostic.message)) == self._heirs[path[:3]]:
            return diagnostic
        message = f"with {spell_path(path)}: {diagnostic.message}"
        return replace(diagnostic, path=diagnostic.path[:2], message=message, at_key=True)


def _source(source: dict[str, Any], path: KeyPath) -> Iterator[Diagnostic]:
    kind = source.get("type")
    if isinstance(kind, str) and kind in SOURCES:
        for diagnostic in SOURCES[kind].traits.mistakes(source):
            yield diagnostic.below(path)


def _exclusive(sources: dict[str, Any], document: Document) -> Iterator[Diagnostic]:
    """Yield the mistake of two sources with one id: the broker ends the older connection for each new one."""
    holders: dict[object, str] = {}
    for name, source in sources.items():
        kind = source.get("type") if isinstance(source, dict) else None
        if not isinstance(kind, str) or kind not in SOURCES:
            continue
        found = SOURCES[kind].traits.exclusive(source)
        if found is None or document.is_unset(("sources", name, "url")):
            continue
        key, identity = found
        if identity in holders:
            first = document.other_place(("sources", holders[identity]), ("sources", name))
            message = f"{first} has this {key} too: the broker would disconnect each for the other"
            yield Diagnostic(("sources", name, key), message, "give each source its own")
        holders.setdefault(identity, name)


def _connection(settings: dict[str, Any], path: KeyPath, document: Document) -> Iterator[Diagnostic]:
    url, tls = settings.get("url"), settings.get("tls")
    if isinstance(tls, dict):
        if ("cert" in tls) != ("key" in tls):
            hint = "set both; they may be the same file"
            yield Diagnostic(
                (*path, "tls"), "a certificate needs its key, and a key its certificate", hint, at_key=True
            )
        elif "key_password" in tls and "key" not in tls:
            hint = "set cert and key too"
            yield Diagnostic((*path, "tls", "key_password"), "there is no key that it could decrypt", hint, at_key=True)
    if not isinstance(url, str):
        return
    yield from _reserved((*path, "url"), document)
    parts = split_url(url)
    if parts is None:
        return
    for name, in_url in (("username", parts.username), ("password", parts.password)):
        if settings.get(name) not in (None, "") and in_url:
            yield Diagnostic((*path, name), f"the URL has a {name} too", "write one of them")
    if tls is not None and parts.scheme in _WITH_TLS:
        hint = f"write {_WITH_TLS[parts.scheme]}:// in the URL, or remove tls"
        yield Diagnostic((*path, "tls"), f"{parts.scheme}:// is a connection without TLS", hint, at_key=True)


_CONNECTIONS: Final[tuple[type[Connection], ...]] = (Dramatiq, *SOURCES.values())
#: By the scheme of a connection without TLS, the one with it.
_WITH_TLS: Final[dict[str, str]] = {
    scheme: model.tls_scheme for model in _CONNECTIONS for scheme in model.schemes if scheme != model.tls_scheme
}


def _reserved(path: KeyPath, document: Document) -> Iterator[Diagnostic]:
    """Yield the mistake of a substituted password that ends early in its URL: its rest would be taken for the host."""
    if ends_early(*document.substituted.get(path, ("", []))):
        hint = "percent-encode it, or write password: beside url:"
        yield Diagnostic(path, "the substituted text holds a character that has a meaning in URLs", hint)
        # Every other mistake of this URL follows from this one.
        document.refused.add(path)


def ends_early(text: str, pieces: Iterable[Piece]) -> bool:
    """Tell whether a substituted user or password holds a character that ends it in a URL."""
    return any(
        "://" in text[: piece.start]
        and "@" in text[piece.end :]
        and "@" not in text[: piece.start]
        and _RESERVED.search(piece.value)
        for piece in pieces
    )
