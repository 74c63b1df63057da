"""The schema for editors: every key explained, and every key of the annotated configuration known."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from bridge import config
from bridge.config import schema
from bridge.config.models import Config
from bridge.manifest.application import import_application
from tests.support.children import REPOSITORY

ANNOTATED: Final = REPOSITORY / "config/bridge.yaml"


def _properties() -> Iterator[tuple[str, dict[str, Any], bool]]:
    whole = schema()
    for name, model in [("Config", whole), *whole["$defs"].items()]:
        for key, entry in model.get("properties", {}).items():
            yield f"{name}.{key}", entry, key in model.get("required", ())


@pytest.mark.parametrize(
    ("name", "entry", "required"), list(_properties()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_key_is_documented(name: str, entry: dict[str, Any], required: bool) -> None:
    """A description, an example, and the default of a key that may be left out."""
    assert entry["description"], name
    if "$ref" in entry:
        return  # a section: its own keys have them
    assert entry["examples"], name
    assert required or "default" in entry or entry.get("type") in {"object", "array"} or "anyOf" in entry, name


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
        if model not in {"EventCase", "ExpectedMessage", "ExpectedDeadLetter", "Case"}:
            assert key in words, f"{name} is not in config/bridge.yaml"


def test_a_manifest_completes_actors_and_queues() -> None:
    """Editors propose them, and take any other text."""
    route = schema(import_application(["tests.app.shapes:broker"]).actors)["$defs"]["Route"]["properties"]
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
