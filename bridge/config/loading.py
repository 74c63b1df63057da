"""From a file to a Config, or to every mistake that is in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from pydantic import ValidationError

from bridge.config import checks
from bridge.config.document import Document
from bridge.config.files import UnreadableFile, read_file
from bridge.config.models import Config, Route
from bridge.config.reader import MAX_BYTES, parse
from bridge.config.source_model import Deduplicate, SourceModel
from bridge.config.sources import SOURCES
from bridge.config.substitution import Substitution
from bridge.config.validation_errors import translate
from bridge.config.wording import bounded_hints
from bridge.errors import ConfigError, Diagnostic, LocatedDiagnostic
from bridge.garbage import without_collector

Check = Callable[[Config], list[Diagnostic]]
#: How long a program that writes the configuration into a pipe may take.
_PIPE_TIMEOUT_S: Final = 10.0


def load(
    path: str | os.PathLike[str], *, environ: Mapping[str, str] = os.environ, check: Check | None = None
) -> Config:
    """Return the configuration in the file at `path`.

    `environ` holds the values of `${NAME}`. `check` finds further mistakes; of a file with mistakes it gets the routes
    that are valid by themselves. Its diagnostics are placed in the file like all others.

    Raises:
        ConfigError: with every mistake in the file; no content of a file raises anything else.
    """
    file = os.fspath(path)
    # Of 5,000 routes, which stay, the collector would walk through all again and again.
    with without_collector(), bounded_hints():
        return _load(file, environ, check)


def _load(file: str, environ: Mapping[str, str], check: Check | None) -> Config:
    document = parse(_read(file), file, Substitution(environ))
    config = _validate(document)
    if check is not None and document.complete and not document.is_hopeless:
        draft, places = (config, None) if config is not None else _draft(document)
        for diagnostic in check(draft):
            document.add(_in_file(diagnostic, places, document))
    if config is None or not document.flawless:
        # Not raised while handling pydantic's error: a chained error would show the values.
        raise ConfigError(document.diagnostics())
    return config


def _read(file: str) -> bytes:
    try:
        return read_file(file, MAX_BYTES, pipe_timeout_s=_PIPE_TIMEOUT_S)
    except UnreadableFile as error:
        message = str(error) if str(error).startswith("cannot") else f"the file {error}"
    raise ConfigError([LocatedDiagnostic(file, 1, 1, "", message)])


def _validate(document: Document) -> Config | None:
    if not document.complete:
        return None
    if document.value is None:
        document.add_at(0, (), "the file is empty", "a configuration has at least sources")
        return None
    secrets = {piece.value for _, pieces in document.substituted.values() for piece in pieces if piece.value}
    if not _add_all(checks.check(document), document):
        return None
    try:
        # By alias only: a `source:` in a route would otherwise pass for `from:`.
        config = Config.model_validate(document.value, by_alias=True, by_name=False, context={"secrets": secrets})
    except ValidationError as error:
        _add_all(translate(error, Config), document)
        return None
    return config if document.flawless else None


def _add_all(diagnostics: Iterator[Diagnostic], document: Document) -> bool:
    """Place the mistakes; return False once there are so many that nobody reads more."""
    for diagnostic in diagnostics:
        document.add(diagnostic)
        if document.is_hopeless:
            return False
    return True


def _draft(document: Document) -> tuple[Config, list[int]]:
    """Return what is sound of a configuration with mistakes: its routes, and which of the file's they are."""
    value: Any = document.value if isinstance(document.value, dict) else {}
    sources, routes = value.get("sources"), value.get("routes")
    sound: list[Route] = []
    places: list[int] = []
    refused = {path[1] for path in document.refused if len(path) > 1 and path[0] == "routes"}
    for index, raw in enumerate(routes if isinstance(routes, list) else ()):
        if index in refused:
            continue
        try:
            route = Route.model_validate(raw, by_alias=True, by_name=False, context={"secrets": set()})
        except ValidationError:
            continue
        sound.append(route.model_copy(update={"name": route.name or route.actor}))
        places.append(index)
    drafts: dict[str, SourceModel] = {}
    for name, raw in sources.items() if isinstance(sources, dict) else ():
        kind = raw.get("type") if isinstance(raw, dict) else None
        if isinstance(kind, str) and kind in SOURCES:
            drafts[name] = SOURCES[kind].model_construct(type=kind, deduplicate=_deduplicate(raw))
    return Config.model_construct(sources=drafts, routes=sound), places


def _deduplicate(source: dict[str, Any]) -> Deduplicate | None:
    """Return the `deduplicate` of a source as far as its key is an expression, whatever else is wrong with it."""
    raw = source.get("deduplicate")
    key = raw.get("key") if isinstance(raw, dict) else None
    if isinstance(key, str) and key.startswith("$") and not key.startswith("$$"):
        return Deduplicate.model_construct(key=key)
    return None


def _in_file(diagnostic: Diagnostic, places: list[int] | None, document: Document) -> Diagnostic:
    """Return a diagnostic of a check as one of the file: a draft numbers its routes anew, and models strip `when`."""
    path, offset = diagnostic.path, diagnostic.offset
    if path[:1] != ("routes",):
        return diagnostic
    if places is not None:
        path = ("routes", places[int(path[1])], *path[2:])
    if path[2:] == ("when",) and path in document.values and offset is not None:
        value: Any = document.value
        text = value["routes"][path[1]]["when"]
        offset += len(text) - len(text.removeprefix("$").lstrip())
    return replace(diagnostic, path=path, offset=offset)
