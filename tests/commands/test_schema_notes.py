"""The notes of `check` on a misspelt keyword of a JSON Schema, and on defaults that no source has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.commands.schema_formats import checked_formats
from bridge.commands.schema_notes import schema_notes
from bridge.config import load
from tests.commands.conftest import Terminal

_SOURCE = "sources: {s: {type: amqp, url: amqp://localhost, queue: q}}\n"


def noted(path: Path, schema: object) -> list[str]:
    """Return where each note stands in an inline schema, with the keyword that it proposes."""
    path.write_text(f"{_SOURCE}routes: [{{from: s, actor: a, validate: {json.dumps(schema)}}}]\n")
    notes = list(schema_notes(load(path)))
    return [f"{'/'.join(map(str, note.path[3:]))} {note.message.rpartition('did you mean ')[2]}" for note in notes]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"requird": ["a"]}, ["requird 'required'?"]),
        ({"requierd": ["a"], "tpye": "object"}, ["requierd 'required'?", "tpye 'type'?"]),
        ({"properties": {"a": {"minLenght": 1}}}, ["properties/a/minLenght 'minLength'?"]),
        ({"propertys": {"a": {"minLenght": 1}}}, ["propertys 'properties'?"]),
        ({"anyOf": [{}, {"itmes": {}}], "not": {"enums": [1]}}, ["anyOf/1/itmes 'items'?", "not/enums 'enum'?"]),
        ({"$defs": {"requird": {"patern": "a"}}, "dependencies": {"tpye": ["a"]}}, ["$defs/requird/patern 'pattern'?"]),
    ],
)
def test_a_word_that_is_near_to_a_keyword_is_noted(path: Path, schema: Any, expected: list[str]) -> None:
    """Wherever a schema stands in a schema."""
    assert noted(path, schema) == expected


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {"properties": {"requird": {}, "tpye": True}, "enum": [{"tpye": 1}], "default": {"itmes": 1}, "const": {"enums": 1}},
        {"nullable": False, "format": "date", "example": 1, "comment": "x", "note": "y", "x-unit": "m", "titel": "t", "unit": "C", "javaType": "T"},
        {"$schema": "http://json-schema.org/draft-04/schema#", "id": "urn:x", "definitions": {"a": {}}, "title": "t"},
    ],
)  # fmt: skip
def test_annotations_and_names_are_no_keywords(path: Path, schema: Any) -> None:
    """Names of the payload's own, values, and words of other programs are silent."""
    assert noted(path, {"allOf": [schema]}) == []


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"properties": {"x": {"format": "datetime"}}}, "properties/x/format 'date-time'?"),
        (
            {"format": "int32"},
            "format route a: the format 'int32' checks nothing in this draft of JSON Schema",
        ),
        (
            {"format": "uuid", "$schema": "http://json-schema.org/draft-07/schema#"},
            "format route a: the format 'uuid' checks nothing in this draft of JSON Schema",
        ),
        (
            {"dependentRequired": {"a": ["b"]}, "$schema": "http://json-schema.org/draft-07/schema#"},
            "dependentRequired route a: 'dependentRequired' checks nothing in this draft of JSON Schema",
        ),
        (
            {"properties": {"x": {"additionalItems": False}}},
            "properties/x/additionalItems route a: 'additionalItems' checks nothing in this draft of JSON Schema",
        ),
        (
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "definitions": {"n": {"type": "string"}},
                "properties": {"a": {"$ref": "#/definitions/n", "maxLength": 3}},
            },
            "properties/a/$ref route a: in this draft of JSON Schema nothing beside $ref is checked; write allOf: [{$ref: ...}] beside it",
        ),
        (
            {"items": {"type": "string", "nullable": True}},
            "items/nullable route a: 'nullable' is OpenAPI's, and allows no null here; write type: [string, 'null'], with the type of the value",
        ),
    ],
)
def test_a_format_or_a_keyword_that_nothing_checks_is_noted(path: Path, schema: Any, expected: str) -> None:
    """By the draft of the schema, as a keyword of another draft; and OpenAPI's word for null, which refuses each null here."""
    assert noted(path, schema) == [expected]


def test_the_formats_that_are_proposed_are_checked() -> None:
    """Each of them by the newest draft: a text that is of none of them does not fit."""
    assert len(checked_formats(None)) == 19


def test_a_misspelt_keyword_of_a_file_is_noted_once(run: Terminal, path: Path) -> None:
    """At the first `validate` that names the file."""
    (path.parent / "s.json").write_text('{"properties": {"a": {"minLenght": 1}}}')
    path.write_text(
        f"{_SOURCE}routes:\n  - {{from: s, actor: a, validate: s.json}}\n  - {{from: s, actor: b, validate: s.json}}\n"
    )
    output = run("check", "CONFIG")
    assert output.count("no keyword") == 1
    assert (
        f"{path}:3:35: note: route a: 'minLenght' is no keyword of JSON Schema, and checks nothing; "
        "did you mean 'minLength'? (s.json: properties.a.minLenght)\n"
    ) in output


def test_defaults_that_no_source_has_are_noted(run: Terminal, path: Path) -> None:
    """Those of a type that a source has are not."""
    path.write_text(
        f"defaults:\n  amqp: {{window: {{events: 7}}}}\n  mqtt: {{client_id: a}}\n{_SOURCE}routes: [{{from: s, actor: a}}]\n"
    )
    output = run("check", "CONFIG")
    assert f"{path}:3:3: note: defaults.mqtt has no effect: no source is of this type\n" in output
    assert "defaults.amqp" not in output
