"""`validate`: payloads that do not fit a schema, before any route or of one route alone; schemas and payloads that want to be slow."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest

from bridge import config
from bridge.config.loading import load_with_places
from bridge.config.schemas import Schema, Validator, is_recursive
from bridge.config.substitution import Substitution
from bridge.dry_run.results import Result
from bridge.dry_run.runs import DryRun
from bridge.errors import ConfigError
from bridge.model.batch import Batch
from bridge.model.event import Event
from bridge.routing import decoding, router
from bridge.routing.compiler import check_routes, compile_routes
from bridge.routing.redaction import Redaction

_ORDER: Final = {
    "type": "object",
    "required": ["id"],
    "properties": {"meta": {"properties": {"fw": {"type": "string"}}}},
}
_NODE: Final = {"$ref": "#/$defs/n"}


def _load(tmp_path: Path, *routes: dict[str, Any], **source: Any) -> config.Config:
    path = tmp_path / "bridge.yaml"
    extra = source.pop("extra", {})
    whole = {
        "sources": {"s": {"type": "mqtt", "url": "mqtt://localhost", **source}},
        "routes": [{"from": "s", "actor": f"a{number}", **route} for number, route in enumerate(routes)],
        **extra,
    }
    path.write_text(json.dumps(whole))
    return config.load(path, environ={"X": "hunter2222"}, check=check_routes)


def _run(loaded: config.Config, payload: object) -> Result:
    return DryRun(loaded).run(Event("s", "t", json.dumps(payload).encode(), 1), 1)


@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_a_source_refuses_a_payload_before_any_route(tmp_path: Path, kind: str) -> None:
    """The file lies beside the configuration; the error names place and rule, and not the value."""
    (tmp_path / f"order.{kind}").write_text("\ufeff" + json.dumps(_ORDER))
    loaded = _load(tmp_path, {}, {"when": "payload.missing.field == 1"}, validate=f"order.{kind}")
    assert [one.route for one in _run(loaded, {"id": 1}).messages] == ["a0"]
    refused = _run(loaded, {"id": 1, "meta": {"fw": 5}})
    assert str(refused.dead_letter) == (
        f'invalid: payload.meta.fw: [value] is not of type "string" (order.{kind}#/properties/meta/properties/fw/type)'
    )
    assert refused.routes == []
    assert {one.why for one in refused.explained()} == {
        "it takes every topic, but the payload does not fit the schema of the source"
    }


def test_a_route_refuses_a_payload_for_itself_alone(tmp_path: Path) -> None:
    """Before its `when`; the other routes of the event go on."""
    loaded = _load(
        tmp_path, {"validate": _ORDER, "when": "payload.nothing.at.all"}, {}, {"validate": {"type": "array"}}
    )
    result = _run(loaded, {})
    assert [one.route for one in result.messages] == ["a1"]
    assert [(str(letter), route) for letter, route in result.dead_letters] == [
        ('invalid: payload: "id" is a required property (validate#/required)', "a0"),
        ('invalid: payload: [value] is not of type "array" (validate#/type)', "a2"),
    ]
    assert [one.condition for one in result.routes] == [None, None, None]
    assert _run(loaded, {"id": 1}).routes[0].verdict == "when"


def test_the_order_is_topic_decode_validate_when(tmp_path: Path) -> None:
    """A body that can't be read is a dead letter of its own reason; a topic that no route takes is not even read."""
    loaded = _load(tmp_path, {"topic": "t"}, validate={"type": "object"})
    made = router.make(loaded.sources["s"], compile_routes(loaded)[0]["s"])
    batch = Batch([Event("s", topic, body, 1) for topic, body in [("t", b"{"), ("t", b"1"), ("t", b"{}"), ("u", b"1")]])
    counts = made.route(batch)
    assert [(index, letter.reason) for index, letter in batch.dead_letters] == [(0, "decode"), (1, "invalid")]
    assert counts.reasons == {"decode": 1, "invalid": 1}
    assert (counts.received, counts.enqueued, counts.unmatched) == (4, 1, 1)


@pytest.mark.parametrize(
    ("schema", "payload", "words"),
    [
        ({"additionalProperties": False}, {"x" * 5000: 1}, "payload"),
        (
            {"additionalProperties": False},
            {"id": 1},
            "payload: Additional properties are not allowed ('id' was unexpected) (",
        ),
        (
            {"items": {"additionalProperties": False}},
            [{}, {"b": 1}],
            "payload[1]: Additional properties are not allowed ('b' was unexpected) (",
        ),
        ({"properties": {"a": False}}, {"a": 7}, "payload.a: no value is allowed here (validate#/properties/a)"),
        ({"propertyNames": False}, {"a": 7}, "payload: no value is allowed here (validate#/propertyNames)"),
        ({"additionalProperties": {"type": "null"}}, {"x" * 5000: {"y" * 5000: 1}}, "payload…xxx"),
        ({"enum": ["x" * 5000]}, 1, "payload: [value] is not one of"),
        ({"const": list(range(9999))}, 1, "payload: [0,1,2"),
        ({"propertyNames": {"maxLength": 3}}, {"y" * 9999: 1}, 'payload: "yyy'),
        ({"items": {"type": "string"}}, ["a", 7], 'payload[1]: [value] is not of type "string" (validate#/items/type)'),
        ({"properties": {"a/b~c": {"type": "null"}}}, {"a/b~c": 1}, "(validate#/properties/a~1b~0c/type)"),
        ({"format": "date-time"}, "now", 'payload: [value] is not a "date-time" (validate#/format)'),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "format": "ipv4"}, "x", '[value] is not a "ipv4"'),
        (
            {"$defs": {"id": {"type": "integer"}}, "properties": {"id": {"$ref": "#/$defs/id"}}},
            {"id": "x"},
            'payload.id: [value] is not of type "integer" (validate#/$defs/id/type)',
        ),
    ],
)
def test_an_error_is_short_and_shows_no_value(tmp_path: Path, schema: object, payload: object, words: str) -> None:
    """At most 300 characters, on one line."""
    (letter, _), *_ = _run(_load(tmp_path, {"validate": schema}), payload).dead_letters
    assert words in letter.detail
    assert len(letter.detail) <= 300
    assert "\n" not in letter.detail


def test_an_error_shows_nothing_of_a_redacted_field(tmp_path: Path) -> None:
    """Not even the name of a key inside it; nor does it show a value of `${...}` that stands in the schema."""
    schema = {"properties": {"card": {"propertyNames": {"maxLength": 3}}, "x": {"enum": ["${X}"]}}}
    loaded = _load(tmp_path, {}, validate=schema, extra={"dead_letters": {"redact": ["payload.card"]}})
    made = router.make(loaded.sources["s"], compile_routes(loaded)[0]["s"])
    batch = Batch([Event("s", "t", b'{"card": {"4111-1111": 1}}', 1), Event("s", "t", b'{"x": 1}', 1)])
    made.route(batch)
    first, second = (Redaction.of(loaded).letter(letter) for _, letter in batch.dead_letters)
    assert "4111" in batch.dead_letters[0][1].detail
    assert "4111" not in first.detail
    assert "hunter" not in second.detail
    assert "***" in second.detail


@pytest.mark.parametrize(
    ("schema", "mistake"),
    [
        ({"properties": {"a": {"pattern": "(?=x)"}}}, "validate.properties.a.pattern: not a usable pattern: look-around takes time that may grow beyond all bounds"),
        ({"pattern": r"(a)\1"}, "validate.pattern: not a usable pattern: a back reference takes time"),
        ({"pattern": "("}, "validate.pattern: not a usable pattern: missing ): ("),
        ({"patternProperties": {"(?!x)": True}}, "not a usable pattern: look-around"),
        ({"$ref": "https://example.com/x.json"}, "validate.$ref: a reference leads to a place in this schema, not to 'https://example.com/x.json'; as in #/$defs/name"),
        ({"items": {"$ref": "file:///etc/passwd"}}, "validate.items.$ref: a reference leads to a place in this schema"),
        ({"items": {"$ref": "other.json#/a"}}, "validate.items.$ref: a reference leads to a place in this schema"),
        ({"$ref": "#/$defs/x"}, "validate.$ref: the schema has no place '/$defs/x'"),
        ({"$schema": "https://example.com/own"}, "validate.$schema: there is no draft 'https://example.com/own'; it is one of drafts 4, 6, 7, 2019-09 and 2020-12"),
        ({"properties": {"a": {"minimum": "x"}}}, "validate.properties.a.minimum: not a JSON Schema: 'x' is not of type \"number\""),
        ([], "routes[0].validate: takes a file or a JSON Schema, not a list"),
        (True, "routes[0].validate: takes a file or a JSON Schema, not true or false"),
        ("schema.txt", "routes[0].validate: takes a file whose name ends with .json, .yaml or .yml, or a JSON Schema"),
        ("none.json", "none.json cannot be read: No such file or directory"),
    ],
)  # fmt: skip
def test_a_mistake_of_a_schema_is_found_at_load(tmp_path: Path, schema: object, mistake: str) -> None:
    """At its place, in plain words."""
    with pytest.raises(ConfigError) as refused:
        _load(tmp_path, {"validate": schema})
    assert mistake in str(refused.value)


@pytest.mark.parametrize(
    ("name", "text", "mistake"),
    [
        (
            "s.json",
            '{"properties": {\n "a": {"type": "strin"}}}',
            "s.json:2:16: properties.a.type: there is no type 'strin'; the types are array, boolean, integer, null, number, object and string",
        ),
        ("s.json", '{"a": 1,\n', "s.json:2:1: this is no JSON: Input data was truncated"),
        (
            "s.yaml",
            "properties:\n  a: {pattern: '(?<=x)'}\n",
            "s.yaml:2:16: properties.a.pattern: not a usable pattern: look-around",
        ),
        ("s.yaml", "a: *x\n", "s.yaml:1:4: a: aliases of YAML are refused"),
        ("s.json", '{"enum": ["\\ud83d\\ude00"], "type": 5}', "s.json:1:1: type: not a JSON Schema: "),
    ],
)
def test_a_mistake_in_a_file_has_its_line(tmp_path: Path, name: str, text: str, mistake: str) -> None:
    """That of the schema's file, once for however many routes name it; `${...}` is text there."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as refused:
        _load(tmp_path, {"validate": name}, {"validate": name})
    (found,) = refused.value.diagnostics
    assert str(found).removeprefix(f"{tmp_path}/").startswith(mistake)


def test_without_the_extra_the_load_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    with pytest.raises(
        ConfigError, match=r"validate needs the library jsonschema-rs; pip install 'dramatiq-bridge\[schema\]'"
    ):
        _load(tmp_path, {"validate": {}})


def test_a_file_without_a_name_on_this_machine_is_not_read(tmp_path: Path) -> None:
    """`check --allow-unset` goes on."""
    path = tmp_path / "bridge.yaml"
    path.write_text(
        "sources: {s: {type: mqtt, url: mqtt://localhost, validate: '${X}.json'}}\nroutes: [{from: s, actor: a}]\n"
    )
    loaded = load_with_places(path, Substitution({}, allow_unset=True), check_routes).model
    assert [one.route for one in _run(loaded, 1).messages] == ["a"]


def _nested(depth: int, inner: object) -> object:
    for _ in range(depth):
        inner = [inner]
    return inner


_BRANCHING: Final = {
    "anyOf": {"anyOf": [{"type": "array", "items": _NODE, "minItems": 2}, {"type": "array", "items": _NODE}]},
    "oneOf": {"oneOf": [{"type": "array", "items": _NODE}, {"type": "array", "items": _NODE, "minItems": 2}]},
    "allOf": {"allOf": [{"type": "array", "items": _NODE}, {"items": _NODE}]},
    "not": {"not": {"not": {"items": _NODE}}, "allOf": [{"items": _NODE}], "type": "array"},
    "if": {"if": {"items": _NODE}, "then": {"items": _NODE}, "else": {"items": _NODE}, "type": "array"},
    "contains": {"contains": _NODE, "items": _NODE, "type": "array"},
    "unevaluated": {
        "anyOf": [{"prefixItems": [_NODE]}, {"contains": _NODE}],
        "unevaluatedItems": False,
        "type": "array",
    },
}
_BY_NAME: Final = {
    "$dynamicAnchor": "n",
    "anyOf": [{"type": "array", "items": {"$dynamicRef": "#n"}, "minItems": 2}, {"type": "array", "items": {"$dynamicRef": "#n"}}],
}  # fmt: skip


@pytest.mark.parametrize("name", [*_BRANCHING, "$dynamicRef"])
def test_a_schema_that_refers_to_itself_is_not_slow(name: str) -> None:
    """A payload of 130 bytes took longer than a human life, where the library made its error."""
    schema = _BY_NAME if name == "$dynamicRef" else {"$defs": {"n": _BRANCHING[name]}, **_NODE}
    validator = Validator(Schema(schema, "s.json"))
    before = time.thread_time()
    for payload in (_nested(60, "bad"), _nested(60, [])):
        if not validator.is_valid(payload):
            assert validator.explain(payload) == "payload does not fit the schema, which refers to itself (s.json)"
    assert time.thread_time() - before < 0.5


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, False),
        (True, False),
        ({"$ref": "#"}, True),
        ({"properties": {"children": {"items": {"$ref": "#"}}}}, True),
        ({"$defs": {"a": {"type": "null"}}, "$ref": "#/$defs/a"}, False),
        (
            {
                "$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"$ref": "#/$defs/c"}, "c": {}},
                "$ref": "#/$defs/a",
            },
            False,
        ),
        ({"$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"not": {"$ref": "#/$defs/a"}}}}, True),
        ({"%24": 1, "$defs": {"a": {"items": {"$ref": "#/%24defs/a"}}}, "$ref": "#/$defs/a"}, True),
        ({"$defs": {"a": {"$ref": "#/$defs/b/properties/x"}, "b": {"properties": {"x": {"$ref": "#/$defs/a"}}}}}, True),
        ({"$defs": {"a": {"$anchor": "n", "items": {"$ref": "#n"}}}}, True),
        ({"$defs": {"a": {"$id": "x", "$ref": "#/y"}}}, True),
        ({"$recursiveRef": "#"}, True),
        ({"enum": [{"$ref": 5}]}, False),
    ],
)
def test_a_recursive_schema_is_recognised(schema: object, expected: bool) -> None:
    """One that may be is taken for one."""
    assert is_recursive(schema) is expected


@pytest.mark.parametrize(
    ("schema", "payload"),
    [
        ({"uniqueItems": True}, [[number] for number in range(40_000)]),
        ({"items": {"enum": [f"x{number}" for number in range(5_000)]}}, ["x4999"] * 30_000),
        ({"items": {"pattern": "^(a+)+$"}}, ["a" * 200_000 + "b"]),
        ({"pattern": "(a{1,100}){1,10}b"}, "a" * 250_000),
        ({"format": "regex"}, "(" * 100_000),
        ({"maximum": 5}, 10**4_000),
        ({"multipleOf": 0.01}, 10**4_000),
        ({"type": "object"}, [{"a": number} for number in range(20_000)]),
    ],
)
def test_a_large_payload_is_not_slow(schema: object, payload: object) -> None:
    """256 KiB take 40 ms at most; here with a tenfold margin."""
    validator = Validator(Schema(schema, "s.json"))
    before = time.thread_time()
    if not validator.is_valid(payload):
        assert len(validator.explain(payload)) <= 300
    assert time.thread_time() - before < 0.4


def test_a_schema_has_bounds(tmp_path: Path) -> None:
    """One of 1 MiB is loaded, a larger one refused; deep nesting is a mistake and no crash."""
    choices = [f"{number:06}" for number in range(80_000)]
    (tmp_path / "large.json").write_text(json.dumps({"enum": choices}))
    loaded = _load(tmp_path, {"validate": "large.json"})
    assert [one.route for one in _run(loaded, "079999").messages] == ["a0"]
    (tmp_path / "large.json").write_text(json.dumps({"enum": choices * 2}))
    with pytest.raises(ConfigError, match=r"large\.json is larger than 1MiB"):
        _load(tmp_path, {"validate": "large.json"})
    (tmp_path / "deep.json").write_text('{"not":' * 900 + "{}" + "}" * 900)
    with pytest.raises(ConfigError, match="not a usable JSON Schema: Recursion limit reached"):
        _load(tmp_path, {"validate": "deep.json"})


def test_a_source_without_validate_is_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its decoder and its routes' functions are those without the feature; it does without the library."""
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    loaded = _load(tmp_path, {})
    table = compile_routes(loaded)[0]["s"]
    made = router.make(loaded.sources["s"], table)
    assert made.decode.__code__ is decoding.decoder("json").__code__
    assert table.routes[0].run.__name__ == "route"
