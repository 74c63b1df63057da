"""A failure shows the whole event, and why each route that matters made no message; a test that passes asks for nothing."""

from __future__ import annotations

import time
from typing import Any, Final

import pytest

from bridge.dry_run import conditions
from tests.dry_run.conftest import Tests

WANTED: Final[dict[str, Any]] = {"name": "wanted", "topic": "a/{x}"}


def test_a_failure_shows_the_whole_event(tests: Tests) -> None:
    """With its headers, its meta and its times, as far as the test sets them."""
    event = {"payload": 1, "headers": {"tenent": "north"}, "meta": {"redelivered": True}, "received_at": 10**12}
    _, (result,) = tests(
        [{"args": ['$default(headers.tenant, "none")']}], {"event": event, "now": 10**12 + 7, "expect": []}
    )
    assert result.context[:5] == [
        "event: from plant t: 1",
        'headers: {"tenent": "north"}',
        'meta: {"redelivered": true}',
        "received_at: 1000000000000",
        "now: 1000000000007",
    ]


def test_a_route_whose_topic_is_not_brought_is_named(tests: Tests) -> None:
    """Otherwise the very route that the test is about would be the only one without an explanation."""
    _, (result,) = tests(
        [WANTED, {"name": "b", "topic": "b/+"}],
        {"event": {"topic": "a/1"}, "expect": [{"route": "wanted"}]},
        topics=["b/#"],
    )
    assert [line.rpartition(": route ")[2] for line in result.context[1:]] == [
        "the bridge does not subscribe to this topic: it subscribes to b/#",
        "wanted: its topic fits, but the source does not bring this one",
        "b: topic: 'a/1' does not fit b/+: level 1 is 'a', the route takes 'b'",
    ]


def test_a_route_is_named_where_the_payload_cannot_be_read(tests: Tests) -> None:
    """Its topic fits; the dead letter is that of the event."""
    _, (result,) = tests([WANTED], {"event": {"topic": "a/1", "body": "{"}, "expect": [{"route": "wanted"}]})
    assert result.context[-1].endswith("wanted: its topic fits, but the event has no payload that can be read")


def test_a_test_that_passes_says_what_never_comes(tests: Tests) -> None:
    """`expect: []` is met by a misspelt topic as well."""
    _, (result,) = tests([WANTED], {"event": {"topic": "A/1"}, "expect": []})
    assert result.differences == []
    assert result.not_brought == "the bridge does not subscribe to this topic: it subscribes to a/+"


def test_a_clock_in_a_condition_is_shown(tests: Tests) -> None:
    """As each other value that the comparison saw."""
    _, (result,) = tests([{"when": "now() < 5"}], {"now": 10**12, "expect": [{"actor": "act"}]})
    assert result.context[-1].endswith("when: `now() < 5` is false: now() is 1000000000000")


def test_only_some_of_many_routes_are_explained(tests: Tests) -> None:
    """The one that is expected is among them, and the number of the others is said."""
    routes = [{"name": f"r{number}", "topic": "t", "when": f"payload.n == {number}"} for number in range(30)]
    event = {"payload": {"n": 99}}
    _, (result,) = tests(routes, {"event": event, "expect": [{"route": "r29"}]})
    assert len([line for line in result.context if ": route " in line]) == 11
    assert "route r29: when: `payload.n == 29` is false" in result.context[-2]
    assert result.context[-1] == "19 more routes do not fit; `dramatiq-bridge route` explains each"


def test_a_test_that_passes_explains_nothing(tests: Tests, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand tests of twenty routes take a second; the bound is ten times that."""
    monkeypatch.setattr(conditions.Condition, "falsehoods", lambda _: pytest.fail("nobody asks"))
    routes = [{"name": f"r{number}", "topic": "#", "when": f"payload.m == {number}"} for number in range(20)]
    before = time.process_time()
    _, results = tests(routes, *[{"event": {"payload": {"m": 99}}, "expect": []}] * 1000)
    assert not any(result.differences for result in results)
    assert time.process_time() - before < 10 * 2


@pytest.mark.parametrize(
    ("when", "payload", "why"),
    [
        (
            "len(x for x in payload.xs if x.q > payload.n) > 1",
            {"xs": [{"q": 2}], "n": 1},
            '`len(x for x in payload.xs if x.q > payload.n) > 1` is false: payload.xs is [{"q": 2}]; payload.n is 1',
        ),
        (
            "payload.a == 1 and [x.b for x in payload.xs] == [1]",
            {"a": 1, "xs": [{"b": 1}, {}]},
            "`x.b`: no field 'b', element 1 of `payload.xs`",
        ),
        (
            "{x.k: 1 for x in payload.xs}[topic] == 2",
            {"xs": [{"k": "t"}]},
            "`{x.k: 1 for x in payload.xs}[topic] == 2` is false: {x.k: 1 for x in payload.xs}[topic] is 1",
        ),
        ("payload.name[:2] == 'ab'", {"name": "xyz"}, "`payload.name[:2] == 'ab'` is false: payload.name[:2] is \"xy\""),
        ("not payload.on == true", {"on": True}, "`payload.on == true` is true, and `not` wants it false: payload.on is true"),
        ("payload.a == payload.b", {"a": 1, "b": True}, "`payload.a == payload.b` is false: payload.a is 1; payload.b is true"),
        (
            "1 < payload.a == payload.b",
            {"a": 2, "b": 3},
            "`1 < payload.a == payload.b` is false: payload.a is 2; payload.b is 3",
        ),
    ],
)  # fmt: skip
def test_a_condition_with_a_loop_is_explained(when: str, payload: object, why: str, tests: Tests) -> None:
    """By what it reads of the event; the names of a loop's elements have no value outside it."""
    _, (result,) = tests([{"when": when}], {"event": {"payload": payload}, "expect": [{"actor": "act"}]})
    assert result.context[-1].partition("when: ")[2] == why
