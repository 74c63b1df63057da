"""`defaults:`: settings that all sources of a type have, unless a source has its own.

A source gets a default whole, as if it stood there; a mistake in it is placed in `defaults`, and so is found once.
"""

from __future__ import annotations

from copy import copy
from typing import Any

from pydantic import Field, create_model, field_validator

from bridge.config.connection import Model
from bridge.config.document import Document
from bridge.config.source_model import SourceModel
from bridge.config.sources import SOURCES
from bridge.config.urls import check_url
from bridge.errors import KeyPath


def _settings(model: type[SourceModel]) -> type[Model]:
    """Return a model with the keys of a source but its type, none of which is required."""
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if name != "type":
            optional = copy(field)
            optional.default = None
            fields[name] = (field.annotation, optional)

    def check(url: str) -> str:
        return check_url(url, model.schemes)

    made = create_model(
        f"{model.__name__}Defaults",
        __base__=Model,
        __validators__={"check_url": field_validator("url")(check)},
        **fields,
    )
    without = {**model.without, "type": "each type of sources has its own mapping in defaults"}
    made.without = without  # type: ignore[attr-defined]
    return made


def _by_type() -> Any:
    """Return a model with a key for each type of sources."""
    fields: dict[str, Any] = {
        kind.replace("-", "_"): (_settings(source) | None, Field(default=None, validation_alias=kind))
        for kind, source in SOURCES.items()
    }
    return create_model("ByType", __base__=Model, **fields)


_BY_TYPE: Any = _by_type()


class SourceDefaults(_BY_TYPE):  # type: ignore[misc]
    """The section `defaults` of a file."""


def share(document: Document) -> None:
    """Give each source the defaults of its type, beside its own settings."""
    value = document.value
    if not document.complete or not isinstance(value, dict):
        return
    defaults, sources = value.get("defaults"), value.get("sources")
    if not isinstance(defaults, dict) or not isinstance(sources, dict):
        return
    for kind, settings in defaults.items():
        if kind in SOURCES and isinstance(settings, dict):
            _share(document, kind, settings, sources)


def _share(document: Document, kind: str, settings: dict[str, Any], sources: dict[str, Any]) -> None:
    known = {key: value for key, value in settings.items() if key in SOURCES[kind].model_fields and key != "type"}
    below = {key: _Below(document, ("defaults", kind, key)) for key in known}
    for name, source in sources.items():
        if not isinstance(source, dict) or source.get("type") != kind:
            continue
        for key, value in known.items():
            if key not in source:
                source[key] = value
                below[key].appear_at(("sources", name, key))


class _Below:
    """All that a document knows about a default and the values in it."""

    def __init__(self, document: Document, path: KeyPath) -> None:
        self._document = document
        self._path = path
        depth = len(path)
        self._keys = [(place[depth:], span) for place, span in document.keys.items() if place[:depth] == path]
        self._values = [(place[depth:], span) for place, span in document.values.items() if place[:depth] == path]
        self._refused = [place[depth:] for place in document.refused if place[:depth] == path]
        self._substituted = [
            (place[depth:], pieces) for place, pieces in document.substituted.items() if place[:depth] == path
        ]

    def appear_at(self, path: KeyPath) -> None:
        """Have the same stand at another path too."""
        document = self._document
        document.keys |= {(*path, *rest): span for rest, span in self._keys}
        document.values |= {(*path, *rest): span for rest, span in self._values}
        document.refused |= {(*path, *rest) for rest in self._refused}
        document.substituted |= {(*path, *rest): pieces for rest, pieces in self._substituted}
        document.written[path] = self._path
