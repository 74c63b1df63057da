"""The dashboard: Grafana can import it, each panel explains itself, and each query reads what the bridge exports."""

from __future__ import annotations

import json
import re
from itertools import combinations, pairwise
from typing import Any

import pytest

from tests.admin.test_metrics import CONTRACT
from tests.support.alerts import rules
from tests.support.dashboard import DASHBOARD, filled, panels, queries
from tests.support.promql import TARGET, Reading

each_query = pytest.mark.parametrize(("title", "expression", "legend"), list(queries()))


def test_grafana_can_import_it() -> None:
    """Of version 10 or later: no number of its own, a name that links can have, and no data source of somebody's."""
    assert DASHBOARD["id"] is None
    assert DASHBOARD["uid"] == DASHBOARD["title"] == "dramatiq-bridge"
    assert DASHBOARD["schemaVersion"] >= 38
    sources = {json.dumps(each) for each in _all("datasource", DASHBOARD)}
    builtin = {"type": "grafana", "uid": "-- Grafana --"}
    assert sources == {json.dumps({"type": "prometheus", "uid": "${datasource}"}), json.dumps(builtin)}


def _all(key: str, value: Any) -> list[Any]:
    if isinstance(value, list):
        return [found for each in value for found in _all(key, each)]
    if isinstance(value, dict):
        return [found for name, each in value.items() for found in ([each] if name == key else _all(key, each))]
    return []


def test_one_chooses_bridge_source_and_route() -> None:
    """Each choice offers what the ones before it leave, and All is one of them."""
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "instance", "source", "route"]
    assert variables.pop("datasource")["type"] == "datasource"
    for name, variable in variables.items():
        assert (variable["includeAll"], variable["allValue"], variable["multi"]) == (True, ".*", True)
        assert variable["query"]["query"] == variable["definition"]
        metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
        assert label == name
        assert label in Reading(filled(metric)).labels


def test_its_rows_answer_in_order() -> None:
    """First whether it is well; and each has panels."""
    rows = [each["title"] for each in panels("row")]
    assert rows[0] == "Is it well?"
    types = [each["type"] for each in DASHBOARD["panels"]]
    assert ("row", "row") not in list(pairwise(types))
    assert len(rows) == len(set(rows)) == 9


def test_no_two_panels_have_a_number_or_a_place_in_common() -> None:
    """And none is wider than the page."""
    every = DASHBOARD["panels"]
    assert len({each["id"] for each in every}) == len(every)
    places = [(at["x"], at["y"], at["x"] + at["w"], at["y"] + at["h"]) for each in every for at in [each["gridPos"]]]
    assert all(0 <= left < right <= 24 and top < bottom for left, top, right, bottom in places)
    for one, other in combinations(places, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1], (one, other)


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_explains_itself(panel: dict[str, Any]) -> None:
    """It has a title of its own, a sentence on what one sees, and a unit; an alert that it names exists."""
    assert [each["title"] for each in panels()].count(panel["title"]) == 1
    assert re.fullmatch(r"[A-Z0-9].{20,}\.", panel["description"])
    if panel["type"] != "text":
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
    named = set(re.findall(r"DramatiqBridge\w+", panel["description"]))
    assert named <= {rule["alert"] for rule in rules()}


@each_query
def test_a_query_reads_what_is_exported(title: str, expression: str, legend: str) -> None:
    """Its metrics, the labels in it, and those of its legend."""
    reading = Reading(expression)
    assert reading.metrics, title
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= reading.labels, title


@each_query
def test_a_query_keeps_to_the_chosen_bridges(title: str, expression: str, legend: str) -> None:
    """Every selector takes job and instance, and source and route where it has them: bridges are not mixed unawares."""
    for name, matchers in re.findall(r"(dramatiq_bridge_\w+)\{(.*?)\}", expression):
        metric = name.removeprefix("dramatiq_bridge_")
        labels = CONTRACT.get(metric) or CONTRACT.get(re.sub(r"_(bucket|sum|count)$", "", metric), frozenset())
        wanted = (labels | TARGET) & {"job", "instance", "source", "route"}
        assert {each.partition("=")[0].strip() for each in matchers.split(",")} >= wanted, (title, legend, name)
    assert len(re.findall(r"dramatiq_bridge_\w+", expression)) == expression.count("{")


def test_rates_fit_the_scrape_interval() -> None:
    """A rate over a fixed time shows nothing where scrapes are rarer; counts of a quarter of an hour say so."""
    for panel in panels():
        for target in panel.get("targets", []):
            windows = set(re.findall(r"\[(.*?)\]", target["expr"]))
            assert windows <= {"$__rate_interval", "$__range", "15m"}
            assert "15m" not in windows or "quarter of an hour" in panel["description"]


def test_every_metric_has_a_panel() -> None:
    """But malformed traces and repaired bodies: they are few, or a stranger's, and nobody is woken for them."""
    shown = {name for _, expression, _ in queries() for name in Reading(expression).metrics}
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert CONTRACT.keys() - shown - bases == {"invalid_traces_total", "bodies_repaired_total"}
