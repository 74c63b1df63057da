"""`defaults:`: settings that all sources of a type have, unless a source has its own.

A source gets a default whole, as if it stood there; a mistake in it is placed in `defaults`, and so is found once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Annotated, Any, TypeVar

from pydantic import Field, create_model, field_validator

from bridge.config.connection import Model
from bridge.config.document import Document
from bridge.config.source_model import SourceModel
from bridge.config.sources import SOURCES
from bridge.config.urls import check_url
from bridge.errors import Diagnostic, KeyPath

_Item = TypeVar("_Item")


def _settings(model: type[SourceModel]) -> type[Model]:
    """Return a model with the keys of a source but its type, none of which is required."""
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if name != "type":
            alias = Field(validation_alias=field.validation_alias)
            fields[name] = (Annotated[field.annotation, *field.metadata, alias], None)

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
    """The section `defaults` of a file, as long as it is checked."""


def forget(_: SourceDefaults) -> SourceDefaults:
    """Return no defaults: once they are checked, each source has its own, and a password stands nowhere else."""
    return SourceDefaults()


def share(document: Document) -> None:
    """Give each source the defaults of its type, beside its own settings."""
    value = document.value
    if not document.complete or not isinstance(value, dict):
        return
    defaults, sources = value.get("defaults"), value.get("sources")
    if not isinstance(defaults, dict) or not isinstance(sources, dict):
        return
    known = _Known(document)
    for name, source in sources.items():
        kind = source.get("type") if isinstance(source, dict) else None
        if not isinstance(kind, str) or kind not in SOURCES:
            continue
        settings = defaults.get(kind)
        keys = {str(field.validation_alias or key) for key, field in SOURCES[kind].model_fields.items()}
        for key, default in settings.items() if isinstance(settings, dict) else ():
            if key not in source and key != "type" and key in keys:
                source[key] = default
                known.repeat(("defaults", kind, key), ("sources", name, key))


def unused(document: Document, types: Collection[str]) -> Iterator[Diagnostic]:
    """Yield a note on each mapping of `defaults` for a type that none of the sources has, by their `types`."""
    value: Any = document.value
    for kind, settings in (value.get("defaults") or {}).items():
        if settings is not None and kind not in types:
            yield Diagnostic(
                ("defaults", kind), f"defaults.{kind} has no effect: no source is of this type", at_key=True
            )


class _Known:
    """All that a document knows about each default and the values in it, by the path of the default."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._keys = _below_defaults(document.keys.items())
        self._values = _below_defaults(document.values.items())
        self._substituted = _below_defaults(document.substituted.items())
        self._refused = _below_defaults((place, None) for place in document.refused)

    def repeat(self, path: KeyPath, at: KeyPath) -> None:
        """Have a default stand at another path too; mistakes keep the path of the default."""
        document = self._document
        document.keys |= {(*at, *rest): span for rest, span in self._keys.get(path, ())}
        document.values |= {(*at, *rest): span for rest, span in self._values.get(path, ())}
        document.substituted |= {(*at, *rest): pieces for rest, pieces in self._substituted.get(path, ())}
        document.refused |= {(*at, *rest) for rest, _ in self._refused.get(path, ())}
        document.written[at] = path


def _below_defaults(items: Iterable[tuple[KeyPath, _Item]]) -> dict[KeyPath, list[tuple[KeyPath, _Item]]]:
    found: dict[KeyPath, list[tuple[KeyPath, _Item]]] = {}
    for place, item in items:
        if place[:1] == ("defaults",):
            found.setdefault(place[:3], []).append((place[3:], item))
    return found
