"""The JSON Schema of a configuration, for editors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bridge.config.manifest import Actor
from bridge.config.message_options import OPTIONS, Kind
from bridge.config.models import Config
from bridge.config.sources import SOURCES
from bridge.config.units import DURATION, SHARE, SIZE, spell_duration, spell_size

_EXPRESSION: Final = {"type": "string", "pattern": r"^\$"}
_REFERENCE: Final = {"type": "string", "pattern": r"^\$\{"}

#: The options of a message: the purpose of each, and an example. Their defaults are those of the actor, or of its middleware.
_OPTIONS: Final[dict[str, tuple[str, Any]]] = {
    "max_retries": ("how often a failed call is tried again; null for ever", 5),
    "min_backoff": ("the shortest wait before a retry", "15s"),
    "max_backoff": ("the longest wait before a retry", "1h"),
    "max_age": ("how old a message may be when a worker takes it", "1d"),
    "time_limit": ("how long a call may take", "30s"),
    "notify_shutdown": ("whether a call is interrupted when its worker stops", True),
    "on_success": ("actor that is called with the message and its result", "note_success"),
    "on_failure": ("actor that is called with the message and its error, after each failure", "note_failure"),
    "on_retry_exhausted": ("actor that is called with the message and the retries after the last failure", "give_up"),
    "pipe_target": ("the next message of a pipeline, which gets the result", {"actor_name": "send_report"}),
    "pipe_ignore": ("whether the result of the message before is left out", True),
    "group_completion_uuid": ("id of the group that the message belongs to", "5f1c9a52-6a0e-4b2e-9a35-0d8c2e5f7b11"),
    "group_completion_callbacks": (
        "messages that are enqueued when the group is done",
        [{"actor_name": "send_report"}],
    ),
    "store_results": ("whether the result is kept", True),
    "result_ttl": ("how long the result is kept", "10m"),
    "broker_priority": ("priority for brokers that have one", 5),
}


def schema(actors: Mapping[str, Actor] | None = None) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12): keys as in YAML, durations and sizes as text with units.

    With the `actors` of a manifest, an editor completes their names and their queues.
    """
    generated = Config.model_json_schema(by_alias=True)
    _move_required(generated)
    for model in (generated, *generated["$defs"].values()):
        # Docstrings are for programmers; the descriptions of the properties are for users.
        model.pop("description", None)
        for name, entry in model.get("properties", {}).items():
            model["properties"][name] = _property(entry)
    options = {name: _option(name, kind) for name, kind in OPTIONS.items() if name != "delay"}
    route = generated["$defs"]["Route"]["properties"]
    then = generated["$defs"]["Step"]["properties"]
    route["options"]["properties"] = options
    then["options"]["properties"] = {
        name: each for name, each in options.items() if name not in {"pipe_target", "pipe_ignore"}
    }
    if actors is not None:
        names, queues = sorted(actors), sorted({actor.queue for actor in actors.values()})
        del route["queue"]["default"], then["queue"]["default"]  # the actor's is taken
        step = options["pipe_target"]["properties"]
        callbacks = [options[name] for name, kind in OPTIONS.items() if kind is Kind.ACTOR]
        expected = generated["$defs"]["ExpectedMessage"]["properties"]
        later = generated["$defs"]["ExpectedStep"]["properties"]
        for entry in (route["actor"], expected["actor"], step["actor_name"], then["actor"], later["actor"], *callbacks):
            _complete(entry, names)
        for entry in (route["queue"], expected["queue"], step["queue_name"], then["queue"], later["queue"]):
            _complete(entry, queues)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **generated,
        "title": "dramatiq-bridge configuration",
    }


def _move_required(generated: dict[str, Any]) -> None:
    """Require the keys of a source only where the file has no `defaults`, and `sources` nowhere: files may be included."""
    del generated["required"]
    required = []
    for kind, source in SOURCES.items():
        keys = generated["$defs"][source.__name__].pop("required")
        of_kind = {"properties": {"type": {"const": kind}}}
        required.append({"if": of_kind, "then": {"required": [key for key in keys if key != "type"]}})
    generated["if"] = {"not": {"required": ["defaults"]}}
    generated["then"] = {"properties": {"sources": {"additionalProperties": {"allOf": required}}}}
    properties = generated["properties"]
    properties["sources"]["additionalProperties"]["required"] = ["type"]
    properties["defaults"] |= {
        "properties": {kind: {"$ref": f"#/$defs/{source.__name__}"} for kind, source in SOURCES.items()},
        "additionalProperties": False,
        "default": {},
    }


def _property(entry: dict[str, Any]) -> dict[str, Any]:
    entry.pop("title", None)
    pattern = str(entry.get("pattern", ""))
    if "$ref" in entry:
        entry.pop("default", None)  # the defaults of a section stand at its own keys
    if isinstance(entry.get("default"), int) and entry.get("type") == "string":
        entry["default"] = (spell_duration if DURATION in pattern else spell_size)(entry["default"])
    if SHARE in pattern:
        entry["default"] = f"{entry['default']}%"
    if entry.get("default", "") is None and isinstance(entry.get("type"), str):
        entry["type"] = [entry["type"], "null"]
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
    elif any("enum" in one for one in entry.get("anyOf", ())):
        entry["anyOf"].append(dict(_REFERENCE))
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


def _option(name: str, kind: Kind) -> dict[str, Any]:
    description, example = _OPTIONS[name]
    match kind:
        case Kind.MILLISECONDS:
            types: dict[str, Any] = {"type": "string", "pattern": rf"^({DURATION}|\$.*)$"}
        case Kind.COUNT:
            types = {"anyOf": [{"type": "integer", "minimum": 0}, dict(_EXPRESSION)]}
        case Kind.COUNT_OR_NULL:
            types = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}, dict(_EXPRESSION)]}
        case Kind.BOOLEAN:
            types = {"anyOf": [{"type": "boolean"}, dict(_EXPRESSION)]}
        case Kind.MESSAGE:
            types = _message()
        case Kind.MESSAGES:
            types = {"type": "array", "items": _message()}
        case _:
            types = {"type": "string"}
    return {**types, "description": description, "examples": [example]}


def _message() -> dict[str, Any]:
    """Return the schema of a message that Dramatiq enqueues after the first one."""
    parts = {
        "actor_name": {"type": "string", "description": "actor to call", "examples": ["send_report"]},
        "queue_name": {"type": "string", "description": "its queue", "default": "default", "examples": ["reports"]},
        "args": {
            "description": "positional arguments, before the result",
            "default": [],
            "examples": [["$payload.id"]],
        },
        "kwargs": {"description": "keyword arguments", "default": {}, "examples": [{"severity": "high"}]},
        "options": {
            "type": "object",
            "description": "its own options, and delay",
            "default": {},
            "examples": [{"delay": "1m"}],
        },
    }
    return {"type": "object", "required": ["actor_name"], "properties": parts}
