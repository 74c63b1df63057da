"""The draft of a configuration with mistakes: its sound parts, so that the mistakes of expressions are found beside others."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from bridge.config.deduplicate import Deduplicate
from bridge.config.document import Document
from bridge.config.dollar import is_expression
from bridge.config.models import Config
from bridge.config.route_model import Route
from bridge.config.source_model import SourceModel
from bridge.config.sources import SOURCES
from bridge.config.tables import Table


def draft_of(document: Document) -> tuple[Config, list[int]]:
    """Return the sound parts of a configuration with mistakes, and the number of each of its routes in the file."""
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
    tables = _tables(value.get("tables"))
    return Config.model_construct(sources=drafts, routes=sound, manifest=value.get("manifest"), tables=tables), places


def _tables(raw: object) -> dict[str, Table]:
    """Return the tables, so that lookups find their names; those with mistakes are empty."""
    tables = {}
    for name, settings in raw.items() if isinstance(raw, dict) else ():
        try:
            tables[name] = Table.model_validate(settings, by_alias=True, by_name=False)
        except ValidationError:
            tables[name] = Table.model_construct(values={})
    return tables


def _deduplicate(source: dict[str, Any]) -> Deduplicate | None:
    """Return the `deduplicate` of a source as far as its key is an expression, whatever else is wrong with it."""
    raw = source.get("deduplicate")
    key = raw.get("key") if isinstance(raw, dict) else None
    if is_expression(key):
        return Deduplicate.model_construct(key=key)
    return None
