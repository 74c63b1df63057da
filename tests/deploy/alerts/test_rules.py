"""The alert rules: each fires when it should, with the words that it should have, and not otherwise."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.alerts import CASES, RULES_FILE, Mistake, cases, cut, failing, flipped, lasting, moved, rules
from tests.support.children import REPOSITORY, patient
from tests.support.promql import Mismatch, Reading

RULES = rules()
Program = Callable[[str], str]
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=patient(60), check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_file(prometheus_program: Program) -> None:
    """Of the version that Debian has, 2.42."""
    _run(prometheus_program("promtool"), "check", "rules", str(RULES_FILE))


def test_each_alert_fires_when_it_should(prometheus_program: Program) -> None:
    """With exactly these labels and words, and not a minute before its time; it ends by itself."""
    _run(prometheus_program("promtool"), "test", "rules", *map(str, CASES))


def test_each_alert_has_cases_of_both_kinds() -> None:
    """One in which it fires, and after it one in which it no longer does."""
    expected = defaultdict[str, list[bool]](list)
    for _, alert, alerts in cases():
        expected[alert].append(bool(alerts))
    assert set(expected) == {rule["alert"] for rule in RULES}
    for alert, fires in expected.items():
        assert True in fires, alert
        assert False in fires[fires.index(True) :], alert


@pytest.mark.parametrize(
    "mistake",
    [
        *(pytest.param(flipped(number), id=f"comparison-{number}") for number in range(10)),
        *(pytest.param(cut(number), id=f"clause-{number}") for number in range(11)),
        pytest.param(moved(1), id="limit-larger"),
        pytest.param(moved(-1), id="limit-smaller"),
        pytest.param(lasting(2), id="later"),
        pytest.param(lasting(0), id="at-once"),
    ],
)
def test_a_mistake_in_a_rule_turns_a_case_red(mistake: Mistake, prometheus_program: Program, tmp_path: Path) -> None:
    """An opposite comparison, a clause that is not there, another limit or `for`: of every rule that has a place for it."""
    changed = [wrong for rule in RULES if (wrong := mistake(rule)) is not None]
    assert changed
    assert failing(prometheus_program("promtool"), changed, tmp_path) == {rule["alert"] for rule in changed}


@pytest.mark.parametrize(("mistake", "count"), [(flipped, 10), (cut, 11)])
def test_no_rule_has_a_comparison_or_a_clause_beyond_those(mistake: Callable[[int], Mistake], count: int) -> None:
    """Otherwise the test above leaves one out."""
    assert [rule["alert"] for rule in RULES if mistake(count)(rule)] == []
    assert [rule["alert"] for rule in RULES if mistake(count - 1)(rule)] != []


@each_rule
def test_a_rule_is_complete(rule: dict[str, Any]) -> None:
    """Its name, how long, how bad, in one sentence and in some, and where to read on."""
    assert re.fullmatch(r"DramatiqBridge([A-Z][a-z]+)+", rule["alert"])
    assert re.fullmatch(r"[1-9]\d*[mh]", rule["for"])
    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    file, anchor = rule["annotations"]["runbook"].split("#")
    assert anchor == rule["alert"].lower()
    assert (REPOSITORY / file).is_file()
    for name in ("summary", "description"):
        assert re.search(r"[.)]$", rule["annotations"][name])


@each_rule
def test_a_rule_reads_metrics_that_are_exported(rule: dict[str, Any]) -> None:
    """And labels that they have, those in its words too."""
    reading = Reading(rule["expr"])
    assert reading.metrics
    named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    assert named <= reading.labels


def test_each_metric_and_label_is_looked_up() -> None:
    """Otherwise the tests of rules and dashboard show nothing."""
    for wrong in (
        "dramatiq_bridge_redy == 0",
        "dramatiq_bridge_events_lost > 0",
        'dramatiq_bridge_ready{source="a"}',
        "sum by (queue) (dramatiq_bridge_events_lost_total)",
        "rate(dramatiq_bridge_event_age_seconds[5m])",
        "dramatiq_bridge_ready and ignoring (route) dramatiq_bridge_sink_available",
        "sum by (source) (sum(dramatiq_bridge_events_lost_total))",
    ):
        with pytest.raises(Mismatch):
            Reading(wrong)
    right = "histogram_quantile(0.5, sum by (source, le) (rate(dramatiq_bridge_event_age_seconds_bucket[5m])))"
    assert Reading(right).metrics == {"event_age_seconds_bucket"}
    assert set(Reading(right).labels) == {"source"}
