"""The JSON Schema of a configuration, for editors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bridge.config.manifest import Actor
from bridge.config.message_options import OPTIONS, Kind
from bridge.config.models import Config
from bridge.config.units import DURATION, SHARE, SIZE, spell_duration, spell_size

_EXPRESSION: Final = {"type": "string", "pattern": r"^\$"}
_REFERENCE: Final = {"type": "string", "pattern": r"^\$\{"}


def schema(actors: Mapping[str, Actor] | None = None) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12): keys as in YAML, durations and sizes as text with units.

    With the `actors` of a manifest, an editor completes their names and their queues.
    """
    generated = Config.model_json_schema(by_alias=True)
    for model in (generated, *generated["$defs"].values()):
        # Docstrings are for programmers; the descriptions of the properties are for users.
        model.pop("description", None)
        for name, entry in model.get("properties", {}).items():
            model["properties"][name] = _property(entry)
    options = {name: _option(kind) for name, kind in OPTIONS.items() if name != "delay"}
    route = generated["$defs"]["Route"]["properties"]
    route["options"]["properties"] = options
    if actors is not None:
        names, queues = sorted(actors), sorted({actor.queue for actor in actors.values()})
        for properties in (route, generated["$defs"]["ExpectedMessage"]["properties"]):
            _complete(properties["actor"], names)
            _complete(properties["queue"], queues)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **generated,
        "title": "dramatiq-bridge configuration",
    }


def _property(entry: dict[str, Any]) -> dict[str, Any]:
    entry.pop("title", None)
    pattern = str(entry.get("pattern", ""))
    if isinstance(entry.get("default"), dict):
        # The defaults of a whole section stand at its own keys.
        del entry["default"]
    if isinstance(entry.get("default"), int) and entry.get("type") == "string":
        entry["default"] = (spell_duration if DURATION in pattern else spell_size)(entry["default"])
    if SHARE in pattern:
        entry["default"] = f"{entry['default']}%"
    entry.setdefault("examples", _examples(entry, pattern))
    # A reference may stand where a number or a boolean is expected.
    if entry.get("type") in ("integer", "boolean"):
        # Behind a validator, pydantic writes a bound under the name of its own argument.
        for bound, keyword in (("ge", "minimum"), ("le", "maximum")):
            if bound in entry:
                entry[keyword] = entry.pop(bound)
        _allow_reference(entry)
    elif "enum" in entry:
        _allow_reference(entry)
    return entry


def _examples(entry: dict[str, Any], pattern: str) -> list[Any]:
    """Return examples where the kind of a value gives them."""
    if DURATION in pattern:
        return ["30s", "5m"]
    if SIZE in pattern:
        return ["256KiB", "16MiB"]
    if "const" in entry:
        return [entry["const"]]
    choices = entry.get("enum", (True, False) if entry.get("type") == "boolean" else ())
    return [value for value in choices if value != entry.get("default")][:1]


def _complete(entry: dict[str, Any], words: Sequence[str]) -> None:
    """Let editors propose `words`, and take any other text."""
    entry.pop("type", None)
    entry["anyOf"] = [{"enum": list(words)}, *entry.pop("anyOf", [{"type": "string"}])]
    entry["examples"] = list(words)


def _allow_reference(entry: dict[str, Any]) -> None:
    moved = {key: entry.pop(key) for key in ("type", "enum", "minimum", "maximum") if key in entry}
    entry["anyOf"] = [moved, dict(_REFERENCE)]


def _option(kind: Kind) -> dict[str, Any]:
    match kind:
        case Kind.MILLISECONDS:
            types: dict[str, Any] = {"type": "string", "pattern": rf"^({DURATION}|\$.*)$"}
        case Kind.COUNT:
            types = {"anyOf": [{"type": "integer", "minimum": 0}, _EXPRESSION]}
        case Kind.COUNT_OR_NULL:
            types = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}, _EXPRESSION]}
        case Kind.BOOLEAN:
            types = {"anyOf": [{"type": "boolean"}, _EXPRESSION]}
        case Kind.MESSAGE:
            types = {"type": "object", "required": ["actor_name"]}
        case Kind.MESSAGES:
            types = {"type": "array", "items": {"type": "object", "required": ["actor_name"]}}
        case _:
            types = {"type": "string"}
    return {**types, "description": kind.value}
