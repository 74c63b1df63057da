"""Coverage counts what the tests have seen, and no more."""

from __future__ import annotations

from typing import Any, Final

from bridge.dry_run.coverage import spell_percent
from tests.dry_run.conftest import Tests

HOT: Final[dict[str, Any]] = {"name": "hot", "when": "payload.celsius > 250"}


def test_a_condition_that_misses_a_field_is_not_false(tests: Tests) -> None:
    """Nothing was compared: `> 250` could be changed to `> 1`, and the tests would pass."""
    made = {"event": {"payload": {"celsius": 300}}, "expect": [{"route": "hot"}]}
    suite, results = tests([HOT], made, {"event": {"payload": {}}, "expect": []})
    assert not any(result.differences for result in results)
    assert suite.coverage.counts == (2, 3)
    assert suite.coverage.gaps == {
        "hot": ["no test makes its `when` false: a field is missing, so nothing is compared"]
    }
    suite, _ = tests([HOT], made, {"event": {"payload": {"celsius": 250}}, "expect": []})
    assert suite.coverage.counts == (3, 3)


def test_a_condition_that_asks_for_a_field_may_be_false_without_it(tests: Tests) -> None:
    """`has` and `default` read a field that is missing: that is their purpose."""
    route = {"when": "has(payload.celsius) and payload.celsius > 250"}
    suite, _ = tests([route], {"event": {"payload": {}}, "expect": []})
    assert suite.coverage.counts == (1, 3)


def test_percent_are_rounded_down() -> None:
    """100% is all of it, and what is shown is never more than what is asked for."""
    assert spell_percent(899, 900) == "99.8%"
    assert spell_percent(1, 2) == "50%"
    assert spell_percent(0, 0) == spell_percent(3, 3) == "100%"
