"""From a file to a Config, or to every mistake that is in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bridge.config import checks
from bridge.config.diagnostics import Finding
from bridge.config.document import Document
from bridge.config.mistakes import translate
from bridge.config.models import Config, Route
from bridge.config.reader import MAX_BYTES, parse
from bridge.config.source_model import Deduplicate, SourceModel
from bridge.config.sources import SOURCES
from bridge.config.substitution import Substitution
from bridge.errors import ConfigError, Mistake, Problem

Check = Callable[[Config], list[Problem]]


def load(
    path: str | os.PathLike[str], *, environ: Mapping[str, str] = os.environ, check: Check | None = None
) -> Config:
    """Return the configuration in the file at `path`.

    `environ` serves `${NAME}`. `check` looks further, at those routes that are right by themselves
    while others are not yet, and its problems are placed in the file like any other. Raises ConfigError with every mistake in the file, and
    nothing else for whatever the file holds.
    """
    file = os.fspath(path)
    document = parse(_read(file), file, Substitution(environ))
    config = _validate(document)
    if check is not None and document.complete:
        draft, places = (config, None) if config is not None else _draft(document)
        for problem in check(draft):
            document.add(_placed(problem, places, document))
    if config is None or not document.flawless:
        # Raised here and not where an error was caught: a chained one would show the values.
        raise ConfigError(document.mistakes())
    return config


def _read(file: str) -> bytes:
    try:
        with Path(file).open("rb") as stream:
            body = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        problem = f"cannot be read: {getattr(error, 'strerror', None) or 'this is no path'}"
    else:
        if len(body) <= MAX_BYTES:
            return body
        problem = "the file is larger than 1 MiB"
    raise ConfigError([Mistake(file, 1, 1, "", problem)])


def _validate(document: Document) -> Config | None:
    if not document.complete:
        return None
    if document.value is None:
        document.add_at(0, (), "the file is empty", "a configuration has at least sources")
        return None
    secrets = {piece.value for _, pieces in document.substituted.values() for piece in pieces if piece.value}
    for finding in checks.check(document):
        document.add(finding)
    try:
        # By alias only: a `source:` in a route would otherwise pass for `from:`.
        config = Config.model_validate(document.value, by_alias=True, by_name=False, context={"secrets": secrets})
    except ValidationError as error:
        for finding in translate(error, Config):
            document.add(finding)
        return None
    return config if document.flawless else None


def _draft(document: Document) -> tuple[Config, list[int]]:
    """Return what is sound of a configuration with mistakes: its routes, and which of the file's they are."""
    value: Any = document.value if isinstance(document.value, dict) else {}
    sources, routes = value.get("sources"), value.get("routes")
    sound: list[Route] = []
    places: list[int] = []
    refused = {loc[1] for loc in document.refused if len(loc) > 1 and loc[0] == "routes"}
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


def _placed(problem: Problem, places: list[int] | None, document: Document) -> Finding:
    loc, offset = problem.loc, problem.offset
    if places is not None and loc[0] == "routes" and isinstance(loc[1], int):
        loc = ("routes", places[loc[1]], *loc[2:])
    if len(loc) > 2 and loc[0] == "routes" and loc[2] == "source":
        loc = (*loc[:2], "from", *loc[3:])
    if len(loc) == 3 and loc[0] == "routes" and loc[2] == "when":
        # The $ that `when` may begin with is not in the model any more.
        value: Any = document.value
        text = value["routes"][loc[1]]["when"] if loc in document.values else ""
        offset += len(text) - len(text.removeprefix("$").lstrip())
    return Finding(loc, problem.problem, problem.hint, offset)
