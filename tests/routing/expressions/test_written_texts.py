"""Texts that are written out: refused and accepted alike, whichever Python runs the bridge."""

from __future__ import annotations

import pytest

from bridge.errors import InvalidValue
from bridge.routing.expressions.written_texts import read_texts
from tests.support.evaluation import evaluate, refusal

OTHER_QUOTES = "use the other quotes inside { }"


@pytest.mark.parametrize(
    ("text", "message", "hint", "at"),
    [
        # Python 3.12 reads these, 3.11 does not.
        ('f"{split(payload.e, "@")[0]}"', "this quote ends the f-string inside { }", OTHER_QUOTES, 20),
        ("topic + f'{payload['a b']}'", "this quote ends the f-string inside { }", OTHER_QUOTES, 19),
        ('f"""{split(payload.e, """@""")}"""', "this quote ends the f-string inside { }", OTHER_QUOTES, 22),
        ('f"{f"{payload.v}"}"', "this quote ends the f-string inside { }", OTHER_QUOTES, 4),
        ("f'a {f\"{payload['v']}\"}'", "this quote ends the f-string inside { }", OTHER_QUOTES, 16),
        (r"""f"{split(payload.e, '\n')}" """, "a backslash can't be used inside { }", 'join("", [...])', 21),
        (r"""f"{payload[\"a\"]}" """, "a backslash can't be used inside { }", OTHER_QUOTES, 11),
        ("f'''{payload.a # note\n}'''", "'#' can't be used inside { }", "", 15),
        ("f'{\npayload.a}'", "a text is never closed", "closing quote", 1),
        # Both refuse these, in words of their own.
        ('f"{payload.v"', "this quote ends the f-string inside { }", "add the closing }", 12),
        ('f"{payload.v=}"', "'=' can't be used behind a value", "write payload.v={payload.v}", 12),
        ('f"{payload.v = !r}"', "'=' can't be used behind a value", "write payload.v={payload.v}", 13),
        ('f"{payload.v!r}"', "'!r' can't be used", "write {value}", 3),
        ('f"{payload.v! s}"', "'! s' can't be used", "write {value}", 3),
        ('f"{}"', "nothing stands inside { }", "{{ and }}", 3),
        ('f"a } b"', "a single '}'", "}}", 4),
        ('f"{topic:>{index}}"', "is a constant", "", 3),
        ('"é" in f"{payload.a && 1}"', "'&&' can't be used", "write 'and'", 20),
        ("f'{payload.a topic}'", "not a valid expression", "", 3),
        ("f'{split(payload.a}'", "'(' is never closed", "", 8),
        ("f'{print payload}'", "not a valid expression", "", 3),
        # Python puts them together.
        ('payload.region in ["eu" "us"]', "two texts stand side by side", "a comma between them", 24),
        ('f"a" "b{payload.v}"', "two texts stand side by side", "a comma between them", 5),
        ("'a'\n  f'{topic}'", "two texts stand side by side", "a comma between them", 6),
        ("[topic, # eu\n 'a' # us\n r'b']", "two texts stand side by side", "a comma between them", 24),
        ("f\"{join('a' 'b', payload)}\"", "two texts stand side by side", "a comma between them", 12),
    ],
)
def test_a_text_is_refused_in_the_same_words_on_every_python(text: str, message: str, hint: str, at: int) -> None:
    """The text of the expression decides, before Python reads it."""
    for diagnostic in (refusal(text), refusal(f" {text}")):
        assert message in diagnostic.message
        assert hint in diagnostic.hint
    assert refusal(text).offset == at


def test_a_field_is_no_comprehension_without_brackets() -> None:
    """Python 3.11 would take one, and 3.12 not; they show it at different places."""
    diagnostic = refusal("f'{x for x in payload}'")
    assert (diagnostic.message, diagnostic.hint) == (
        "a comprehension without brackets can't be used in an expression",
        "write it in [ ]",
    )


def test_what_python_3_12_reads_and_3_11_does_not_is_found_without_python() -> None:
    """So it is found also where this Python would read it."""
    for text in ('f"{a["b"]}"', r"""f"{split(a, '\n')}" """, 'f"{f"{a}"}"'):
        with pytest.raises(InvalidValue):
            read_texts(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("f\"{split(payload.e, '@')[0]}\"", "a"),
        ('f"""{payload["a b"]}-{payload[\'a b\']}"""', "1-1"),
        ("f\"{'}'}{{x}}{'{'}\"", "}{x}{"),
        ("f'{payload.v!s:>4}|{payload.v:04d}|{payload.v != 5}|{payload.v==7}'", "   7|0007|true|true"),
        ("f\"{[x for x in payload.l if x >= 2][0]}{ {'k': 3}['k'[:1]]}\"", "23"),
        (r'f"\N{BULLET}\t\x41{payload.v}\\{payload.v}"', "\u2022\tA7\\7"),
        (r'rf"\N{payload.v}\d"', "\\N7\\d"),
        ('["a", "b"]', ["a", "b"]),
        ('"a" if "#" in payload.e else "it\'s"  # "note', "it's"),
        (r'"\"#"', '"#'),
        ('"a"in"abc"', True),
        ('"a#b"[1:]', "#b"),
        ("f'{payload.v}' if f'{payload.v}'else 'b'", "7"),
        ('""""a" b"""', '"a" b'),
    ],
)
def test_other_texts_are_read_as_before(text: str, value: object) -> None:
    """Other quotes, escapes, formats, comments and nested brackets mean what they mean in Python."""
    assert evaluate(text, {"e": "a@b", "a b": 1, "v": 7, "l": [1, 2]}) == value
