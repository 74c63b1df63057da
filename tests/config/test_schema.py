"""The schema for editors: every key explained, and every key of the annotated configuration known."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml

from bridge import config
from bridge.config import schema
from bridge.config.models import Config
from bridge.config.reader import parse
from bridge.config.sources import SOURCES
from bridge.config.substitution import Substitution
from bridge.manifest.application import import_application
from tests.support.children import REPOSITORY

ANNOTATED: Final = REPOSITORY / "config/bridge.yaml"
EXAMPLES: Final = sorted((REPOSITORY / "config/examples").glob("*.yaml"))
VALIDATOR: Final = jsonschema.Draft202012Validator(schema())
_SOURCES: Final = {model.__name__ for model in SOURCES.values()}


def _properties() -> Iterator[tuple[str, dict[str, Any], bool]]:
    whole = schema()
    options = whole["$defs"]["Route"]["properties"]["options"]
    step = options["properties"]["pipe_target"]
    of_sources = whole["then"]["properties"]["sources"]["additionalProperties"]["allOf"]
    needed = {key for of_kind in of_sources for key in of_kind["then"]["required"]}
    for name, model in [("Config", whole), *whole["$defs"].items(), ("step", step)]:
        required = {"type", *needed} if name in _SOURCES else set(model.get("required", ()))
        for key, entry in model.get("properties", {}).items():
            yield f"{name}.{key}", entry, key in required or (name, key) == ("Config", "sources")
    for key, entry in options["properties"].items():
        yield f"options.{key}", entry, True  # its default is the actor's


@pytest.mark.parametrize(
    ("name", "entry", "required"), list(_properties()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_key_is_documented(name: str, entry: dict[str, Any], required: bool) -> None:
    """A description, an example, and the default of a key that may be left out."""
    assert entry["description"], name
    assert entry["examples"], name
    # The keys of a section have defaults of their own.
    assert required or "default" in entry or "$ref" in entry, name


def test_every_example_is_valid() -> None:
    """Each has a type that its own schema takes: an editor shows it as one."""
    for name, entry, _ in _properties():
        types = set(_types(entry))
        for example in entry.get("examples", ()):
            assert not types or _json_type(example) & types, (name, example)


def _types(entry: dict[str, Any]) -> Iterator[str]:
    kinds = entry.get("type", ())
    yield from [kinds] if isinstance(kinds, str) else kinds
    if "$ref" in entry:
        yield "object"
    for value in entry.get("enum", ()):
        yield from _json_type(value)
    for one in entry.get("anyOf", ()):
        yield from _types(one)


def _json_type(value: object) -> set[str]:
    names = {
        bool: {"boolean"},
        int: {"integer", "number"},
        float: {"number"},
        str: {"string"},
        list: {"array"},
        dict: {"object"},
    }
    return names.get(type(value), {"null"})


def test_the_annotated_configuration_is_valid_and_whole() -> None:
    """config/bridge.yaml loads; with its comments it names every key that there is."""
    loaded = config.load(ANNOTATED, environ={})
    assert loaded.routes
    text = ANNOTATED.read_text()
    words = set(re.findall(r"([a-z_]+):", text))
    for name, _, _ in _properties():
        model, _, key = name.partition(".")
        if model not in {
            "EventCase",
            "ExpectedMessage",
            "ExpectedStep",
            "ExpectedDeadLetter",
            "Case",
            "options",
            "step",
        }:
            assert key in words, f"{name} is not in config/bridge.yaml"


def test_a_manifest_completes_actors_and_queues() -> None:
    """Editors propose them, and take any other text."""
    whole = schema(import_application(["tests.app.shapes:broker"]).actors)
    route = whole["$defs"]["Route"]["properties"]
    options = route["options"]["properties"]
    step = options["pipe_target"]["properties"]
    for entry in (options["on_failure"], options["on_retry_exhausted"], step["actor_name"]):
        assert entry["anyOf"][0] == route["actor"]["anyOf"][0]
    assert step["queue_name"]["anyOf"][0] == route["queue"]["anyOf"][0]
    assert "default" not in route["queue"]
    assert "ClassBased" in route["actor"]["anyOf"][0]["enum"]
    assert route["queue"]["anyOf"][0] == {"enum": ["classes", "default", "failures"]}
    assert {"type": "string"} in route["actor"]["anyOf"]


def test_the_sections_are_those_of_the_models() -> None:
    """No key of the file is missing from the schema."""
    assert set(schema()["properties"]) == {
        str(field.validation_alias or name) for name, field in Config.model_fields.items()
    }
    assert json.loads(json.dumps(schema())) == schema()
    assert yaml.safe_load(ANNOTATED.read_text()).keys() <= schema()["properties"].keys()


@pytest.mark.parametrize(
    "path", [ANNOTATED, *EXAMPLES, REPOSITORY / "bridge/demo/demo.yaml"], ids=lambda path: str(path.name)
)
def test_the_examples_are_valid_by_the_schema(path: Path) -> None:
    """An editor marks nothing in them."""
    value = parse(path.read_bytes(), str(path), Substitution({}, allow_unset=True)).value
    assert [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(value)] == []


@pytest.mark.parametrize(
    "text",
    [
        "log: {format: '${F:-json}', level: '${L}'}",
        "processes: ${N}",
        "enforce_manifest: ${B}",
        "routes: [{from: s, actor: a, options: {pipe_target: {actor_name: b}, max_retries: null, time_limit: $payload.t}}]",
        "tests: [{name: t, event: {from: s, payload_base64: null}, expect: [{delay: null}]}]",
    ],
)
def test_what_check_takes_is_valid_by_the_schema(text: str) -> None:
    """References and null."""
    source = {"type": "redis-pubsub", "url": "${U}", "channels": ["${C}"], "unmatched": "${E:-drop}"}
    value = {"sources": {"s": source}, **yaml.safe_load(text)}
    assert [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(value)] == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("{sources: {s: {type: mqtt}}}", "'url' is a required property"),
        ("{sources: {s: {url: 'mqtt://localhost'}}}", "'type' is a required property"),
        ("{sources: {s: {type: mqtt}}, defaults: {mqtt: {url: 'mqtt://localhost'}}}", ""),
        ("{routes: [{from: s, actor: a}]}", ""),
    ],
    ids=["no url", "no type", "a default", "an included file"],
)
def test_an_editor_asks_for_the_keys_of_a_source_unless_there_are_defaults(text: str, missing: str) -> None:
    """A file that is included needs no sources, and one with defaults no keys that these may hold."""
    found = {error.message for error in VALIDATOR.iter_errors(yaml.safe_load(text))}
    assert missing in found if missing else not found
