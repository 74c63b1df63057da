"""The alert rules of deploy/prometheus, copies of them with mistakes, and their own tests."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import promql_parser as promql
import yaml

from tests.support.children import REPOSITORY, patient

PROMETHEUS: Final = REPOSITORY / "deploy" / "prometheus"
RULES_FILE: Final = PROMETHEUS / "alerts.yaml"
CASES: Final = sorted(PROMETHEUS.glob("alerts_test_*.yaml"))
#: A comparison, and the number behind it. Label matchers have their operators in braces, and none of these but `=` and `=~`.
_COMPARISON: Final = re.compile(r"(==|!=|>=|<=|>|<) (\d+(?:\.\d+)?)")
_OPPOSITE: Final = {"==": "!=", "!=": "==", ">": "<=", "<": ">=", ">=": "<", "<=": ">"}

#: Makes another expression, or another `for`, of one; None where it has no place for the mistake.
Mistake = Callable[[dict[str, Any]], dict[str, Any] | None]


def rules() -> list[dict[str, Any]]:
    """Return every rule."""
    return [rule for group in _read(RULES_FILE)["groups"] for rule in group["rules"]]


def cases() -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Return of each case the name of its test, the alert, and the alerts that are expected."""
    return [
        (test["name"], case["alertname"], case.get("exp_alerts", []))
        for path in CASES
        for test in _read(path)["tests"]
        for case in test["alert_rule_test"]
    ]


def failing(promtool: str, changed: Sequence[dict[str, Any]], folder: Path) -> set[str]:
    """Run the cases of these rules; return the names of the alerts of which one has failed."""
    names = {rule["alert"] for rule in changed}
    # As they are, those whose alerts a changed one reads.
    read = [each for each in rules() if each["alert"] not in names and f'"{each["alert"]}"' in str(changed)]
    (folder / "alerts.yaml").write_text(yaml.safe_dump({"groups": [{"name": "changed", "rules": [*read, *changed]}]}))
    written = [path.name for path in CASES if _write_cases(path, names, folder)]
    command = [promtool, "test", "rules", *written]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=patient(60), check=False)
    found = set(re.findall(r"alertname: (\w+), time", done.stdout + done.stderr))
    assert bool(found) == (done.returncode != 0), done.stdout + done.stderr
    return found


def _write_cases(path: Path, alerts: set[str], folder: Path) -> bool:
    """Write those of a file's cases that are of these alerts; return whether there are any."""
    content = _read(path)
    tests = [
        {**test, "alert_rule_test": kept}
        for test in content["tests"]
        if (kept := [case for case in test["alert_rule_test"] if case["alertname"] in alerts])
    ]
    # JSON is YAML, and much faster.
    (folder / path.name).write_text(json.dumps({**content, "tests": tests}))
    return bool(tests)


@cache
def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def flipped(number: int) -> Mistake:
    """Return the mistake of an opposite comparison: the one with this number, counted from 0."""
    return lambda rule: _with_comparison(rule, number, lambda operator, limit: f"{_OPPOSITE[operator]} {limit}")


def moved(direction: int) -> Mistake:
    """Return the mistake of a first limit that is larger (1) or smaller (-1), where it is one of a quantity."""

    def move(operator: str, limit: str) -> str | None:
        value = float(limit)
        # 0 and 1 are states, or the least number of events.
        return (
            f"{operator} {value + direction * (value / 4 if value > 4 or value < 1 else 1)}"
            if value > 1 or value % 1
            else None
        )

    return lambda rule: _with_comparison(rule, 0, move)


def lasting(factor: int) -> Mistake:
    """Return the mistake of a `for` that is so many times as long."""

    def change(rule: dict[str, Any]) -> dict[str, Any]:
        number, unit = re.fullmatch(r"(\d+)([mh])", rule["for"]).groups()  # type: ignore[union-attr]
        return {**rule, "for": f"{int(number) * factor}{unit}"}

    return change


def cut(number: int) -> Mistake:
    """Return the mistake of an `and`, `or` or `unless` that is not there: the one with this number, and what stands behind it."""

    def change(rule: dict[str, Any]) -> dict[str, Any] | None:
        root = promql.parse(rule["expr"])
        found = list(_set_operations(root))
        if number >= len(found):
            return None
        whole, part = str(root), str(found[number])
        assert part in whole
        return {**rule, "expr": whole.replace(part, str(found[number].lhs), 1)}

    return change


def _set_operations(node: promql.Expr) -> Iterator[promql.BinaryExpr]:
    match node:
        case promql.BinaryExpr():
            yield from _set_operations(node.lhs)
            yield from _set_operations(node.rhs)
            if str(node.op) in {"and", "or", "unless"}:
                yield node
        case promql.ParenExpr() | promql.AggregateExpr():
            yield from _set_operations(node.expr)


def _with_comparison(
    rule: dict[str, Any], number: int, change: Callable[[str, str], str | None]
) -> dict[str, Any] | None:
    found = list(_COMPARISON.finditer(rule["expr"]))
    if number >= len(found) or (changed := change(*found[number].groups())) is None:
        return None
    start, end = found[number].span()
    return {**rule, "expr": rule["expr"][:start] + changed + rule["expr"][end:]}
