"""The JSON Schema of a configuration, for editors."""

from __future__ import annotations

from typing import Any, Final

# A module and not its names, as in models.py.
from bridge.config import message_options
from bridge.config.models import Config
from bridge.config.units import DURATION, SHARE, SIZE, spell_duration, spell_size

_EXPRESSION: Final = {"type": "string", "pattern": r"^\$"}
_REFERENCE: Final = {"type": "string", "pattern": r"^\$\{"}


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12): keys as in YAML, durations and sizes as text with units."""
    made = Config.model_json_schema(by_alias=True)
    for model in (made, *made["$defs"].values()):
        # A class's docstring speaks to programmers, a property's description to users.
        model.pop("description", None)
        for name, one in model.get("properties", {}).items():
            model["properties"][name] = _property(one)
    options = {name: _option(kind) for name, kind in message_options.OPTIONS.items() if name != "delay"}
    made["$defs"]["Route"]["properties"]["options"]["properties"] = options
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **made,
        "title": "dramatiq-bridge configuration",
    }


def _property(one: dict[str, Any]) -> dict[str, Any]:
    one.pop("title", None)
    pattern = str(one.get("pattern", ""))
    if isinstance(one.get("default"), dict):
        # The defaults of a whole section stand at its own keys.
        del one["default"]
    if isinstance(one.get("default"), int) and one.get("type") == "string":
        one["default"] = (spell_duration if DURATION in pattern else spell_size)(one["default"])
    if SHARE in pattern:
        one["default"] = f"{one['default']}%"
    elif DURATION in pattern:
        one["examples"] = ["30s", "5m"]
    elif SIZE in pattern:
        one["examples"] = ["256KiB", "16MiB"]
    # A reference may stand where a number or a boolean is expected.
    if one.get("type") in ("integer", "boolean"):
        # A validator in front of a bound makes pydantic write the bound under its own name.
        for bound, keyword in (("ge", "minimum"), ("le", "maximum")):
            if bound in one:
                one[keyword] = one.pop(bound)
        _allow_reference(one)
    elif "enum" in one:
        _allow_reference(one)
    return one


def _allow_reference(one: dict[str, Any]) -> None:
    moved = {key: one.pop(key) for key in ("type", "enum", "minimum", "maximum") if key in one}
    one["anyOf"] = [moved, dict(_REFERENCE)]


def _option(kind: message_options.Kind) -> dict[str, Any]:
    match kind:
        case message_options.Kind.MILLISECONDS:
            types: dict[str, Any] = {"type": "string", "pattern": rf"^({DURATION}|\$.*)$"}
        case message_options.Kind.COUNT:
            types = {"anyOf": [{"type": "integer", "minimum": 0}, _EXPRESSION]}
        case message_options.Kind.COUNT_OR_NULL:
            types = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}, _EXPRESSION]}
        case message_options.Kind.BOOLEAN:
            types = {"anyOf": [{"type": "boolean"}, _EXPRESSION]}
        case message_options.Kind.MESSAGE:
            types = {"type": "object", "required": ["actor_name"]}
        case message_options.Kind.MESSAGES:
            types = {"type": "array", "items": {"type": "object", "required": ["actor_name"]}}
        case _:
            types = {"type": "string"}
    return {**types, "description": kind.value}
