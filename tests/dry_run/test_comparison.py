"""A test fails for what is wrong and for nothing else, and each failure shows two sides that can be told apart."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.dry_run.matching import matching
from bridge.errors import ConfigError
from tests.dry_run.conftest import Tests

THREE: list[dict[str, Any]] = [{"name": "ra"}, {"name": "rb"}, {"name": "rc"}]


@pytest.mark.parametrize(
    "expect",
    [
        [{"actor": "act"}, {"route": "rc"}, {"route": "ra"}],
        [{"actor": "act"}, {"actor": "act"}, {"route": "ra"}],
        [{"queue": "default"}, {"route": "rb"}, {"route": "ra"}],
    ],
)
def test_a_vague_expectation_takes_nothing_from_an_exact_one(tests: Tests, expect: list[dict[str, str]]) -> None:
    """All three are met, in whatever order they stand."""
    for order in (expect, expect[::-1]):
        _, (result,) = tests(THREE, {"expect": order})
        assert result.differences == []


def test_a_vague_dead_letter_takes_nothing_from_an_exact_one(tests: Tests) -> None:
    """Two routes fail: one expectation names its route, the other none."""
    routes = [{"name": "e1", "args": ["$payload.a"]}, {"name": "e2", "args": ["$payload.a"]}]
    letters = [{"reason": "missing-field"}, {"reason": "missing-field", "route": "e1"}]
    for order in (letters, letters[::-1]):
        _, (result,) = tests(routes, {"event": {"payload": {}}, "expect_dead_letter": order})
        assert result.differences == []


def test_no_other_pairing_has_more_pairs() -> None:
    """Also where several have to give way; where not all can be paired, as many as can."""
    meets = {"a": [1, 2], "b": [1], "c": [2, 3], "d": [3], "e": [3]}
    pairs = matching([*"abcde"], [1, 2, 3], lambda want, found: found in meets[want])
    assert len(pairs) == len({*pairs.values()}) == 3
    chain = matching(range(500), range(500), lambda want, found: found in (want, want + 1))
    assert len(chain) == 500
    assert len(matching(range(500, 0, -1), range(500), lambda want, found: found in (want, want - 1))) == 500


def test_what_is_missing_is_shown_by_what_is_alike(tests: Tests) -> None:
    """An expectation that names a route is compared with that route's message, also behind a vague one."""
    _, (result,) = tests(
        [{"name": "ra", "args": [1]}, {"name": "rb", "args": [2]}],
        {"expect": [{"actor": "act", "args": [3]}, {"route": "ra", "args": [4]}]},
    )
    assert result.differences == [
        "route ra: args[0]: expected 4 (a whole number), the message has 1 (a whole number)",
        "route rb: args[0]: expected 3 (a whole number), the message has 2 (a whole number)",
    ]


def test_what_is_expected_is_shown_whole(tests: Tests) -> None:
    """Also where it is an empty list."""
    _, (result,) = tests([{"name": "ra", "topic": "x"}], {"expect": [{"args": [], "kwargs": {}}]})
    assert result.differences == ["missing: args: [], kwargs: {}"]


def test_options_are_expected_as_a_route_writes_them(tests: Tests) -> None:
    """Durations with their units, also inside a pipeline, whose messages get their defaults."""
    step = {"actor_name": "next", "options": {"time_limit": "30s"}}
    options = {"time_limit": "30s", "on_success": "foo", "pipe_target": step, "tag": "x"}
    in_ms = {**options, "time_limit": 30_000, "pipe_target": {**step, "options": {"time_limit": 30_000}}}
    for expected in (options, in_ms):
        _, (result,) = tests([{"name": "ra", "options": options}], {"expect": [{"options": expected}]})
        assert result.differences == []
    changed = {**options, "pipe_target": {**step, "options": {"time_limit": "31s"}}}
    _, (result,) = tests([{"name": "ra", "options": options}], {"expect": [{"options": changed}]})
    assert result.differences == [
        "options.pipe_target.options.time_limit: expected 31000 (a whole number), the message has 30000 (a whole number)"
    ]
    with pytest.raises(ConfigError, match=r"expect\[0\].options.pipe_target.options.time_limt: unknown option"):
        tests([{}], {"expect": [{"options": {"pipe_target": {"actor_name": "a", "options": {"time_limt": "1s"}}}}]})


def test_a_difference_is_one_line(tests: Tests) -> None:
    """Also where a key of the event holds a line break, or the sign that begins a terminal's commands."""
    payload = {"a\x1b[2J\u00a0b": 1}
    _, (result,) = tests([{"kwargs": "$payload"}], {"event": {"payload": payload}, "expect": [{"kwargs": {}}]})
    assert result.differences == [r"kwargs.a\u001b[2J\u00a0b: not expected, the message has 1 (a whole number)"]


def test_a_secret_is_masked_before_a_text_is_cut(tests: Tests, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long text the neighbourhood of the first difference is shown, which may lie inside a token."""
    monkeypatch.setenv("TOKEN", f"{'x' * 150}end")
    routes = [{"args": ["Bearer ${TOKEN}", "${ODD}"]}]
    monkeypatch.setenv("ODD", "s3cret\u00a0word")
    _, (result,) = tests(routes, {"expect": [{"args": [f"Bearer {'x' * 130}", "a"]}]})
    shown = "\n".join([*result.differences, *result.context])
    assert '(text), the message has "Bearer ***" (text)' in shown
    assert "xend" not in shown
    assert "s3cret" not in shown


def test_an_expected_message_names_a_field(tests: Tests) -> None:
    """`expect: [{}]` would take any message: nobody means that."""
    with pytest.raises(ConfigError, match=r"tests\[0\].expect\[0\]: every message fits this; name its route"):
        tests([{}], {"expect": [{}]})


@pytest.mark.parametrize(
    ("want", "got", "shown"),
    [
        (
            "10 kg",
            "10\u00a0kg",
            r'expected "10 kg" (text), the message has "10\u00a0kg" (text); at character 3 U+0020, the message has U+00A0',
        ),
        (
            "a\u200bb",
            "a\u200cb",
            r'expected "a\u200bb" (text), the message has "a\u200cb" (text); at character 2 U+200B, the message has U+200C',
        ),
        ("\u00e9", "e\u0301", "; at character 1 U+00E9, the message has U+0065"),
        ("a", "\u0430", "; at character 1 U+0061, the message has U+0430"),
        ("caf", "caf\u00e9", "; at character 4 its end, the message has U+00E9"),
        ("a", "b", 'expected "a" (text), the message has "b" (text)'),
        (
            f"{'x' * 150}a",
            f"{'x' * 150}b",
            f'expected …"{"x" * 40}a" (text), the message has …"{"x" * 40}b" (text)',
        ),
    ],
)
def test_two_texts_that_look_alike_are_told_apart(tests: Tests, want: str, got: str, shown: str) -> None:
    """A character that can't be seen is escaped, the first difference is named, and its neighbourhood is shown."""
    _, (result,) = tests([{"args": ["$payload"]}], {"event": {"payload": got}, "expect": [{"args": [want]}]})
    (line,) = result.differences
    assert line.startswith("args[0]: expected")
    assert line.endswith(shown)
