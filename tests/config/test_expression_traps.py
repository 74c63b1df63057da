"""Expressions that YAML does not read as one text: each mistake has its own words, all have one remedy, and the remedy works."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from bridge.config import load
from bridge.config.document import Document
from bridge.config.reader import parse
from bridge.config.substitution import Substitution
from bridge.errors import ConfigError
from bridge.routing.compiler import check_routes

HEAD: Final = "sources:\n  plant: {type: mqtt, url: mqtt://localhost}\nroutes:\n  - from: plant\n    actor: act\n"
REMEDY: Final = "write the whole value in single quotes, and each single quote inside it twice"
IN_FLOW: Final = "which has a meaning inside [ ] and { }"
KEY: Final = f"a key is text and no expression; if this is one expression that holds `: `, {REMEDY}"
MAPPING: Final = "${ begins a substitution; an expression that begins with a mapping is written as '$({\"name\": payload.name})'; write $${ for a literal ${"
UNCLOSED: Final = MAPPING.replace("${ begins a substitution", "a ${ that is not closed")
COLON: Final = f"YAML ends this expression at `: `; {REMEDY}"
HASH: Final = f"YAML ends this expression at ` #`, where a comment begins; {REMEDY}"
COMMA: Final = f"YAML ends this expression at `,`, {IN_FLOW}; {REMEDY}"
BRACKET: Final = f"YAML ends this expression at `[`, {IN_FLOW}; {REMEDY}"
BRACE: Final = f"YAML ends this expression at `{{`, {IN_FLOW}; {REMEDY}"
QUOTE: Final = f"YAML ends this value at the quote before, and more follows; {REMEDY}"
#: The rest of a route from line 6 on, and its one mistake.
TRAPS: Final = [
    # A colon before a space.
    ('kwargs:\n      m: $f"a: {payload.b}"', f"7:14: routes[0].kwargs.m: {COLON}"),
    ("kwargs:\n      m: $({a: payload.x})", f"7:14: routes[0].kwargs.m: {COLON}"),
    ("kwargs:\n      m: $payload.a: b", f"7:20: routes[0].kwargs.m: {COLON}"),
    ("delay: $payload.a: b", f"6:22: routes[0].delay: {COLON}"),
    ('when: payload.a == "x: y"', f"6:26: routes[0].when: {COLON}"),
    # A hash behind a space: where the expression is whole before it, it is a comment.
    ('kwargs:\n      m: $f"no #{payload.b}"', f"7:16: routes[0].kwargs.m: {HASH}"),
    ('args:\n      - $replace(payload.a, " #", "")', f"7:31: routes[0].args[0]: {HASH}"),
    ('when: payload.a == "x #y"', f"6:27: routes[0].when: {HASH}"),
    ("kwargs:\n      m: $default( # the code\n        payload.a,\n        2)", f"7:20: routes[0].kwargs.m: {HASH}"),
    # Lists and mappings in brackets.
    ("args: [$payload.x, $default(payload.a, 2)]", f"6:42: routes[0].args[1]: {COMMA}"),
    ('args: [$default(payload.a, "C")]', f"6:30: routes[0].args[0]: {COMMA}"),
    ("kwargs: {a: $default(payload.a, 2)}", f"6:35: routes[0].kwargs.a: {COMMA}"),
    ('args: [$"a, b"]', f"6:15: routes[0].args[0]: {COMMA}"),
    ('args: [$payload.a + "(", $payload.b + "a, b"]', f"6:45: routes[0].args[1]: {COMMA}"),
    ("args:\n      - [$f(payload.a, 1)]", f"7:22: routes[0].args[0][0]: {COMMA}"),
    ("args: [$payload.tags[0]]", f"6:25: routes[0].args[0]: {BRACKET}"),
    ('args: [$payload["a b"]]', f"6:20: routes[0].args[0]: {BRACKET}"),
    ("args: [$[x.a for x in payload.l]]", f"6:13: routes[0].args[0]: {BRACKET}"),
    ('kwargs: {a: $({"x": payload.a})}', f"6:19: routes[0].kwargs.a: {BRACE}"),
    ('args: [$f"{payload.a}, {payload.b}"]', f"6:15: routes[0].args[0]: {BRACE}"),
    ('args: [$f"{payload.a}"]', f"6:15: {BRACE}"),
    ('kwargs: {m: $f"{payload.a}"}', f"6:20: routes[0].kwargs.m: {BRACE}"),
    ("kwargs: {a: $payload.tags[1:]}", f"6:30: routes[0].kwargs.a: {BRACKET}"),
    ("args: [$f'{payload.a}: b']", f"6:15: {BRACE}"),
    ('args: [$f"no #{payload.b}"]', f"6:18: routes[0].args[0]: {HASH}"),
    # Quotes around a part.
    ("args: ['$default(payload.a, 'C')']", f"6:34: {QUOTE}"),
    ('kwargs: {m: "$payload["a"]"}', f"6:28: {QUOTE}"),
    ("kwargs:\n      m: '$payload['a']'", f"7:21: {QUOTE}"),
    ('kwargs:\n      m: "$payload["a"]"', f"7:21: {QUOTE}"),
    ("kwargs:\n      m: 'a' + $payload.a", f"7:14: {QUOTE}"),
    ('when: "a" == payload.a', f"6:15: {QUOTE}"),
    ("when: [1, 2] == payload.a", f"6:18: {QUOTE.replace('quote before', 'bracket before')}"),
    # Keys.
    ("args:\n      - $({a: payload.x})", f"7:9: routes[0].args[0]['$({{a']: {KEY}"),
    ("args: [$payload.a: b]", f"6:12: routes[0].args[0]['$payload.a']: {KEY}"),
    ("args:\n      - ? $payload.a", f"7:11: routes[0].args[0]['$payload.a']: {KEY}"),
    ("kwargs: {$payload.a: 1}", f"6:14: routes[0].kwargs['$payload.a']: {KEY}"),
    # A mapping in braces.
    ('kwargs:\n      m: ${"a": payload.x}', f"7:10: routes[0].kwargs.m: {MAPPING}"),
    ("kwargs:\n      m: '${\"a\": payload.x}'", f"7:11: routes[0].kwargs.m: {MAPPING}"),
    ("kwargs:\n      m: '${m.name: m.value for m in payload.metrics}'", f"7:11: routes[0].kwargs.m: {MAPPING}"),
    ("kwargs:\n      m: |-\n        ${'a': payload.x}", f"8:9: routes[0].kwargs.m: {MAPPING}"),
    ("kwargs:\n      m: ${m.name: m.value for m in payload.metrics}", f"7:10: routes[0].kwargs.m: {UNCLOSED}"),
    # Signs of YAML.
    ("when: !payload.a", "6:11: routes[0].when: tags of YAML are refused; write `not` to negate, and quote text that begins with !"),
    ("kwargs:\n      m:$payload.a", "7:7: routes[0].kwargs: a space is missing behind the colon; as in name: $payload.name"),
    ("args: [", "7:1: a value is missing, or a bracket is not closed"),
]  # fmt: skip
#: Expressions that hold every sign that YAML has a meaning for.
EXPRESSIONS: Final = (
    '$({"a": payload.x, \'b\': [payload.y[0], "it\'s #1"]})',
    '$f"a: {payload.b}, #{payload.c["d e"]}"',
    "$default(payload.a, {'x': '%'}) if payload.b[0] == \"\" else '@`!&*|>?-'",
    "$[l for l in [1, 2, 3]]",
)


def said(path: Path, text: str) -> list[str]:
    """Return the mistakes in a file, one line each."""
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, environ={}, check=check_routes)
    return [str(each).partition("\n")[0].partition(f"{path}:")[2] for each in caught.value.diagnostics]


@pytest.mark.parametrize(("text", "expected"), TRAPS, ids=[text for text, _ in TRAPS])
def test_a_trap_has_its_own_words_and_one_mistake(tmp_path: Path, text: str, expected: str) -> None:
    """At the character where YAML ends the expression; a syntax error that only follows from it is none."""
    assert said(tmp_path / "bridge.yaml", f"{HEAD}    {text}\n") == [expected]


def test_the_rest_of_the_file_is_read_where_yaml_can_go_on(tmp_path: Path) -> None:
    """A mistake elsewhere is found in the same go, and a syntax error of another line is not hidden."""
    path = tmp_path / "bridge.yaml"
    more = "  - {from: plnt, actor: act, args: [$len(payload.a, 1)]}\n"
    assert [each.partition(": ")[0] for each in said(path, f'{HEAD}    args: [$"a, b"]\n{more}')] == [
        "6:15",
        "7:12",
        "7:51",
    ]
    text = f'{HEAD}    args: [$"a, b"]\n  - {{from: plant, actor: act}}\n  - a: b: c\n'
    assert [each.partition(": ")[0] for each in said(path, text)] == ["6:15", "8:9"]


@pytest.mark.parametrize(
    "text", ["$payload.a # a comment", "$payload.a\t# a comment", "$f(1) # it's (one", '$"#1" # one']
)
def test_a_comment_behind_a_whole_expression_is_a_comment(text: str) -> None:
    """Whatever is in it."""
    document = _parsed(f"    kwargs:\n      m: {text}\n")
    assert document.flawless
    assert _first(document)["kwargs"]["m"] == text.partition("#" if "#1" not in text else " #")[0].rstrip()


@pytest.mark.parametrize("text", EXPRESSIONS)
@pytest.mark.parametrize("form", ["'{quoted}'", "|-\n        {plain}", ">-\n        {plain}", "|\n        {plain}"])
@pytest.mark.parametrize("place", ["kwargs:\n      m: {}", "args:\n      - {}"])
def test_the_remedy_works_for_every_expression(text: str, form: str, place: str) -> None:
    """Single quotes around the whole value; text in a block does too."""
    value = form.format(plain=text, quoted=text.replace("'", "''"))
    document = _parsed(f"    {place.format(value)}\n")
    assert document.flawless, document.diagnostics()
    route = _first(document)
    assert (route.get("kwargs", {}).get("m") or route["args"][0]).removesuffix("\n") == text


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_the_remedy_works_inside_brackets(text: str) -> None:
    """Where a block can't stand."""
    quoted = "'{}'".format(text.replace("'", "''"))
    document = _parsed(f"    args: [1, {quoted}, [{quoted}]]\n    kwargs: {{m: {quoted}}}\n")
    assert document.flawless, document.diagnostics()
    assert _first(document)["args"] == [1, text, [text]]
    assert _first(document)["kwargs"] == {"m": text}


@pytest.mark.parametrize("text", [text for text, _ in TRAPS])
def test_both_parsers_find_the_same(text: str) -> None:
    """libyaml, and the parser in Python where that is missing."""
    body = f"{HEAD}    {text}\n".encode()
    found = [parse(body, "f", Substitution({}), loader).diagnostics() for loader in (yaml.CSafeLoader, yaml.SafeLoader)]
    assert found[0] == found[1]


@pytest.mark.parametrize("loader", [yaml.CSafeLoader, yaml.SafeLoader])
def test_a_slice_in_a_list_has_these_words_too(loader: type[Any]) -> None:
    """The parser libyaml stops at the colon before it has told of the expression, so it has no path."""
    (found,) = parse(f"{HEAD}    args: [$payload.tags[1:]]\n".encode(), "f", Substitution({}), loader).diagnostics()
    assert f"{found.line}:{found.column}: {found.message}; {found.hint}" == f"6:25: {BRACKET}"


@pytest.mark.parametrize("text", ["$f(", "$a, b", "a (b", "[$x]", "it's #1", "$$f(1"])
def test_text_that_is_no_expression_is_left_alone(text: str) -> None:
    """A literal, and a password that begins with a $."""
    quoted = _parsed(f"    kwargs:\n      m: {text} # a comment\n") if not text.startswith("$f") else None
    assert quoted is None or quoted.flawless
    document = parse(
        f"sources: {{p: {{x: 1}}}}\nname:\n  password: {text} # a comment\n".encode(), "f", Substitution({})
    )
    assert document.flawless


def test_a_long_line_takes_no_long_time() -> None:
    """The words are looked for in a part of it: without a bound this takes minutes."""
    begin = time.process_time()
    document = parse(f"{HEAD}    args: [{'a:$' * 100_000}, 'x\n".encode(), "f", Substitution({}))
    assert [each.message for each in document.diagnostics()] == ["this quote is not closed"]
    assert time.process_time() - begin < 10


def _parsed(rest: str) -> Document:
    return parse(f"{HEAD}{rest}".encode(), "bridge.yaml", Substitution({}))


def _first(document: Document) -> Any:
    value: Any = document.value
    return value["routes"][0]
