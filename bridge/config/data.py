"""The data beside a configuration: the rows of its tables, and the schemas of `validate`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from bridge.config.document import Document
from bridge.config.files import base_directory
from bridge.config.models import Config
from bridge.config.schemas import Schema, check_setting, read_schema, schema_mistakes
from bridge.config.substitution import possible_secrets
from bridge.config.tables import is_data, read_tables
from bridge.errors import Diagnostic, InvalidValue, KeyPath


def with_data(config: Config, document: Document) -> Config:
    """Read the tables, and the schemas of `validate`, and place their mistakes."""
    directory = base_directory(document.file)
    unread = frozenset(name for name in config.tables if document.is_unset(("tables", name, "file")))
    read = read_tables(config.tables, directory, unread)
    document.digests += read.digests
    for diagnostic in read.diagnostics:
        document.add(diagnostic)
    for each in read.in_files:
        document.add_elsewhere(each)
    schemas: dict[str, Schema] = {}
    tried: dict[str, list[Diagnostic]] = {}
    for path, setting in _validations(document):
        if isinstance(setting, dict):
            mistakes = schema_mistakes(setting)
        elif not isinstance(setting, str) or document.is_unset(path):
            continue
        elif (known := tried.get(setting)) is not None:
            mistakes = known
        else:
            schema, mistakes, in_file = read_schema(setting, directory / setting)
            tried[setting] = mistakes
            if schema is not None:
                schemas[setting] = schema
                document.digests.append(schema.digest)
            for each in in_file:
                document.add_elsewhere(each)
        for diagnostic in mistakes:
            document.add(diagnostic.below(path))
    substituted = (pieces for path, (_, pieces) in document.substituted.items() if is_data(path))
    return config.with_data(read.rows, schemas, frozenset(possible_secrets(chain.from_iterable(substituted))))


def _validations(document: Document) -> Iterator[tuple[KeyPath, object]]:
    """Yield the place and the value of each `validate` that is a file or a schema."""
    whole: Any = document.value if isinstance(document.value, dict) else {}
    sources, routes = whole.get("sources"), whole.get("routes")
    for root, named in (
        ("sources", sources.items() if isinstance(sources, dict) else ()),
        ("routes", enumerate(routes) if isinstance(routes, list) else ()),
    ):
        for name, settings in named:
            try:
                value = check_setting(settings["validate"])
            except (InvalidValue, TypeError, KeyError):
                continue
            yield (root, name, "validate"), value
