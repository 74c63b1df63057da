"""Wrong expressions: refused when the configuration is read, and nothing else of Python can be reached."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import InvalidValue
from bridge.routing.expressions import NAMES, parse
from bridge.routing.expressions.results import kinds
from tests.support.evaluation import build, evaluate, failure, refusal

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    ("text", "message", "hint", "at"),
    [
        ("payload.x = 3", "'=' can't", "write '=='", 10),
        ("é && payload", "'&&' can't", "write 'and'", 2),
        ("topic || 1", "'||' can't", "write 'or'", 6),
        ("topic == '&&' and !payload", "'!' can't", "write 'not'", 18),
        ("payload.a ? 1 : 2", "'?' can't", "a if condition else b", 10),
        ("topic + $payload", "'$' can't", "before the whole value", 8),
        ("payload.from > 1", "'from' is a word of the language", '["from"]', 8),
        ("paylod.a", "there is no name 'paylod'", "did you mean 'payload'?", 0),
        ("celsius > 3", "there is no name 'celsius'", "payload.celsius", 0),
        ("topic == nil", "there is no name 'nil'", "write 'null'", 9),
        ("lenn(topic)", "there is no function 'lenn'", "did you mean 'len'?", 0),
        ("[len]", "'len' is a function", "call it", 1),
        ("topic(1)", "'topic' is not a function", "", 0),
        ("meta.retian", "meta has no field 'retian'", "did you mean 'retain'?", 0),
        ("meta[topic]", "a field of meta is named by a constant", "", 0),
        ("topic.upper()", "a method can't be called", "write upper(...)", 0),
        ("payload.get('a')", "a method can't be called", "default(", 0),
        ("sha512(topic)", "there is no function 'sha512'", "write sha256(payload.a); hmac(key, ", 0),
        ("topic.startswith('a')", "a method can't be called", "starts_with", 0),
        ("len(topic, 1)", "len() takes 1 argument, not 2", "", 0),
        ("round()", "round() takes 1 to 2 arguments, not 0", "", 0),
        ("min()", "min() takes 1 or more arguments, not 0", "", 0),
        ("len(x=topic)", "a named argument can't", "", 4),
        ("('é', topic", "'(' is never closed", "", 0),
        ("topic)", "')' closes nothing", "", 5),
        ("'é' + 'abc", "a text is never closed", "closing quote", 6),
        ("", "the expression is empty", "", 0),
        ("topic, 1", "there is more than one value", "[ ]", 7),
        ("topic,", "there is more than one value", "[ ]", 0),
        ("topic) + (topic", "')' closes nothing", "", 5),
        ("1 +", "not a valid expression", "", 3),
        ("'é' + topic topic", "not a valid expression", "", 0),
        ("topic & 1", "the operator '&' can't", "payload.a // 4 % 2 == 1", 0),
        ("print topic", "not a valid expression", "", 0),
        ("topic if oven", "an 'if' has no 'else'", "a if condition else b", 0),
        ("topic == “a”", "'“' can't be used", "stands in", 9),
        ("topic is 'a'", "'is' only asks", "write '=='", 0),
        ("f'{topic!r}'", "'!r' can't", "", 3),
        ("f'{topic:>101}'", "at most 100 wide", "", 3),
        ("f'{1.5:.9999}'", "at most 100 wide", "", 3),
        ("f'{topic:>{oven}}'", "is a constant", "", 3),
        ("matches(topic, '(')", "not a usable regex", "", 15),
        ("matches(topic, oven)", "the regex of matches() is a constant text", "", 15),
        (r"matches(topic, '(?:(?:\pL{500}){9})')", "not a usable regex", "", 15),
        ("{1: 2}", "a key of a mapping is text, not a number", "", 1),
        ("payload[1.5]", "an index is text or a whole number", "", 8),
        ("'text'.x", "text that is written out has no such field", "", 0),
        ("1e999", "a number is too large", "", 0),
        ("9" * 90, "a number is larger than 2**256", "", 0),
        (r"'\ud800'", "half a character", "", 0),
        ("'\ud800'", "half a character", "", 0),
        ("top\x00ic", "", "", 0),
    ],
)
def test_a_mistake_is_told_with_its_place_and_remedy(text: str, message: str, hint: str, at: int) -> None:
    """A wrong expression is refused at start, at the right character, with the correct form."""
    diagnostic = refusal(text)
    assert message in diagnostic.message
    assert hint in diagnostic.hint
    assert (diagnostic.offset or 0) == at


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lambda: 1", "a lambda"),
        ("(lambda x: x)(1)", ""),
        ("{x for x in payload}", "a set"),
        ("[x() for x in payload]", ""),
        ("[x.upper() for x in payload]", "a method"),
        ("[_work for x in payload]", ""),
        ("[_each(x) for x in payload]", ""),
        ("[_metered(x) for x in payload]", ""),
        ("[(y := x) for x in payload]", "an assignment"),
        ("[*x for x in payload]", ""),
        ("{**x for x in payload}", ""),
        ("[lambda: x for x in payload]", "a lambda"),
        ("x for x in payload", "a comprehension"),
        ("(x := payload)", "an assignment"),
        ("x := payload", "an assignment"),
        ("await payload", "'await'"),
        ("(yield)", "'yield'"),
        ("(yield from payload)", "'yield'"),
        ("[*payload]", "a starred value"),
        ("len(*payload)", "a starred value"),
        ("len(**payload)", "a named argument"),
        ("{**payload}", "'**'"),
        ("payload[1, 2]", ""),
        ("{1, 2}", "a set"),
        ("b'x'", "a text of bytes"),
        ("1j", "a complex number"),
        ("...", "'...'"),
        ("payload @ payload", "the operator '@'"),
        ("~payload", "the operator '~'"),
        ("1 << 900000", "the operator '<<'"),
        ("import os", ""),
        ("__import__('os')", ""),
        ("__builtins__", ""),
        ("_add(1, 2)", ""),
        ("_Add(1, 2)", ""),
        ("_default", ""),
        ("eval('1')", ""),
        ("open('/etc/passwd')", ""),
        ("getattr(payload, 'x')", ""),
        ("print(1)", ""),
        ("().__class__.__bases__[0].__subclasses__()", ""),
        ("payload.__class__()", ""),
        ("''.join(['a'])", ""),
        ("f'{payload.__class__.__mro__()}'", ""),
        ("f'{(lambda: 1)()}'", ""),
        ("f'{payload:{().__class__}}'", ""),
        ("len.__globals__", ""),
        ("default.__closure__", ""),
        ("'{0.__class__}'.format(payload)", ""),
        ("[1].append", ""),
        ("meta.get", ""),
        ("meta.__class__", ""),
        ("(1).real", ""),
        ("[payload][0](1)", ""),
        ("default(lambda: 1, 2)", "a lambda"),
        ("has(x for x in payload)", "a comprehension"),
        ("1; 2", ""),
        ("topic\nimport os", ""),
        ("topic\n]\nimport os\n[1", ""),
        ("]; [", ""),
        ("topic if (yield) else 1", "'yield'"),
    ],
)
def test_nothing_else_of_python_can_be_reached(text: str, words: str) -> None:
    """A construct that is not on the list of the language is refused when the configuration is read, by its plain name."""
    assert words in refusal(text).message


@pytest.mark.parametrize("name", ["__class__", "__dict__", "keys", "get", "__init__", "upper", "append", "real"])
def test_an_attribute_is_only_ever_a_key(name: str) -> None:
    """A dot reads a key of a mapping and never an attribute, of any value."""
    assert evaluate(f"payload.{name}", {name: 5}) == 5
    assert failure(f"payload.{name}", {}).missing
    for value in ("text", 5, 1.5, [1], True):
        assert not failure(f"payload.{name}", value).missing


@pytest.mark.parametrize(
    "text",
    [
        "(" * 4000,
        "[" * 60 + "]" * 60,
        "-" * 4000 + "1",
        "not " * 1000 + "1",
        "1+" * 2000 + "1",
        "payload" + ".a" * 2000,
        "payload" + "[0]" * 1300,
        "len(" * 900 + ")" * 900,
        "f'{" * 9,
        "1 if 1 else " * 300 + "1",
        "{" * 4000,
        "a[" * 2000,
        "lambda:" * 500 + "1",
        "1" * 5000,
        "'" * 4001,
        "1 " * 2000,
        "\\" * 4000,
        '"' * 4000 + "x",
    ],
)
def test_a_hostile_expression_is_only_an_error(text: str) -> None:
    """No expression, however nested or long, does worse than be refused."""
    refusal(text)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from(list("payloadtopic.[](){}'\"+-*/%<>=!&| \n0159eé,:fnr\\#$?_")), max_size=40))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    """Parsing ends in an expression that Python compiles, or in an InvalidValue within the text."""
    offset = 0
    try:
        build(parse(text, NAMES))
    except InvalidValue as error:
        (diagnostic,) = error.diagnostics
        offset = diagnostic.offset or 0
    assert 0 <= offset <= len(text)


def test_a_regex_warns_nobody() -> None:
    """Python warns of a backslash that means nothing to it, and each reading of the text would."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parse(r'matches(payload.a, "\d")', NAMES)
        assert kinds(r'matches(payload.a, "\d")') == frozenset({"true or false"})
