"""Which metrics a PromQL expression reads, and which labels its result has: held against what the bridge exports."""

from __future__ import annotations

from typing import Final

import promql_parser as promql

from tests.admin.test_metrics import CONTRACT, PREFIX

#: Labels that a target may have, whatever finds it.
TARGET: Final = frozenset({"job", "instance", "namespace", "pod"})
#: The metrics that Prometheus makes itself, and their labels.
_PROMETHEUS: Final = {"up": frozenset[str](), "ALERTS": frozenset({"alertname", "alertstate"})}
_HISTOGRAMS: Final = frozenset({"batch_events", "event_age_seconds", "enqueue_duration_seconds"})
#: Those that leave the labels of their argument as they are; of the arguments the last one is the vector.
_FUNCTIONS: Final = frozenset({
    *("rate", "increase", "changes", "resets", "round", "abs", "last_over_time", "max_over_time", "absent", "time"),
})  # fmt: skip


class Mismatch(Exception):
    """An expression reads a metric that is not exported, or uses a label that is not there."""


class Reading:
    """An expression: the `metrics` that it reads, without the prefix, and the `labels` that its result may have."""

    def __init__(self, expression: str) -> None:
        self.metrics: set[str] = set()
        self.labels = self._labels(promql.parse(expression))

    def _labels(self, node: promql.Expr) -> frozenset[str]:
        match node:
            case promql.NumberLiteral():
                return frozenset()
            case promql.ParenExpr() | promql.UnaryExpr():
                return self._labels(node.expr)
            case promql.VectorSelector():
                return self._of_selector(node)
            case promql.MatrixSelector():
                return self._of_selector(node.vector_selector)
            case promql.AggregateExpr():
                return self._of_aggregate(node)
            case promql.BinaryExpr():
                return self._of_binary(node)
            case promql.Call():
                return self._of_call(node)
        raise Mismatch(f"{type(node).__name__} is not known here")

    def _of_selector(self, node: promql.VectorSelector) -> frozenset[str]:
        name = str(node.name)
        labels = TARGET | (_PROMETHEUS[name] if name in _PROMETHEUS else self._exported(name))
        _demand({each.name for each in node.matchers.matchers}, labels, name)
        return labels

    def _exported(self, name: str) -> frozenset[str]:
        metric = name.removeprefix(PREFIX)
        if metric == name:
            raise Mismatch(f"{name} is not of the bridge")
        self.metrics.add(metric)
        for suffix in ("_bucket", "_sum", "_count"):
            base = metric.removesuffix(suffix)
            if base != metric and base in _HISTOGRAMS:
                return CONTRACT[base] | ({"le"} if suffix == "_bucket" else set())
        if metric not in CONTRACT or metric in _HISTOGRAMS:
            raise Mismatch(f"{name} is not exported")
        return CONTRACT[metric]

    def _of_aggregate(self, node: promql.AggregateExpr) -> frozenset[str]:
        labels = self._labels(node.expr)
        if node.modifier is None:
            return frozenset()
        named = frozenset(node.modifier.labels)
        _demand(named, labels, str(node))
        return named if node.modifier.type == promql.AggModifierType.By else labels - named

    def _of_binary(self, node: promql.BinaryExpr) -> frozenset[str]:
        left, right = self._labels(node.lhs), self._labels(node.rhs)
        if node.modifier is not None and node.modifier.matching is not None:
            _demand(set(node.modifier.matching.labels), left | right, str(node))
        return left | right if str(node.op) == "or" else left or right

    def _of_call(self, node: promql.Call) -> frozenset[str]:
        name = node.func.name
        if name == "histogram_quantile":
            labels = self._labels(node.args[1])
            _demand({"le"}, labels, str(node))
            return labels - {"le"}
        if name not in _FUNCTIONS:
            raise Mismatch(f"the function {name} is not known here")
        return self._labels(node.args[-1]) if node.args else frozenset()


def _demand(named: set[str] | frozenset[str], there: frozenset[str], place: str) -> None:
    if missing := named - there:
        raise Mismatch(f"{', '.join(sorted(missing))}: no such label in {place}")
