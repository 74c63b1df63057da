"""The dashboard of deploy/grafana, its panels and its queries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from tests.support.children import REPOSITORY

DASHBOARD: Final[dict[str, Any]] = json.loads((REPOSITORY / "deploy/grafana/dramatiq-bridge.json").read_text())
#: As a dashboard of three hours has them, with every job, instance, source and route.
_VARIABLES: Final = {
    "$__rate_interval": "1m",
    "$__interval": "15s",
    "$__range": "3h",
    **dict.fromkeys(("$job", "$instance", "$source", "$route"), ".*"),
}


def panels(kind: str = "") -> list[dict[str, Any]]:
    """Return the panels, all but the headings of rows, or those of one kind."""
    return [each for each in DASHBOARD["panels"] if (each["type"] == kind if kind else each["type"] != "row")]


def queries() -> Iterator[tuple[str, str, str]]:
    """Yield of each query the panel's title, the expression without variables, and the legend."""
    for panel in panels():
        for target in panel.get("targets", []):
            yield panel["title"], filled(target["expr"]), target["legendFormat"]
    for annotation in DASHBOARD["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["name"], filled(annotation["expr"]), annotation["titleFormat"]


def filled(expression: str) -> str:
    """Return an expression with values for Grafana's variables."""
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression
