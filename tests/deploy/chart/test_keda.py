"""The example that scales workers asks for a metric that the bridge has, and ends no worker for want of a number."""

from __future__ import annotations

from typing import Any, Final

import promql_parser

from bridge.model.state import QueueState
from tests.admin.test_metrics import CONTRACT, PREFIX
from tests.deploy.chart.rendering import KEDA, documents

_OBJECTS: Final = documents(KEDA.read_text())
SCALED: Final[dict[str, Any]] = _OBJECTS[0]["spec"]
WORKERS: Final[dict[str, Any]] = _OBJECTS[1]


def test_the_query_counts_the_work_that_has_begun() -> None:
    """It is waiting + in_flight of one queue, by the names and labels that the bridge exports, and not the sum over bridges."""
    (trigger,) = SCALED["triggers"]
    query = promql_parser.parse(trigger["metadata"]["query"])
    assert isinstance(query, promql_parser.AggregateExpr)
    assert isinstance(query.expr, promql_parser.AggregateExpr)
    selector = query.expr.expr
    assert isinstance(selector, promql_parser.VectorSelector)
    assert selector.name is not None
    labels = {matcher.name: matcher.value for matcher in selector.matchers.matchers}
    assert (str(query.op), str(query.expr.op)) == ("max", "sum")
    assert query.expr.modifier is not None
    assert query.expr.modifier.labels == ["instance"]
    # The Prometheus Operator adds the namespace; without it the query would mix the bridges of several ones.
    assert labels.keys() == CONTRACT[selector.name.removeprefix(PREFIX)] | {"namespace"}
    states = set(labels["state"].split("|"))
    assert states == {"waiting", "in_flight"}
    assert states <= set(QueueState.__struct_fields__)


def test_no_number_ends_no_worker() -> None:
    """Without Prometheus or without a bridge, KEDA keeps the workers that run; it ends them one by one, after minutes."""
    (trigger,) = SCALED["triggers"]
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    assert trigger["metricType"] == "AverageValue"  # a fallback works with this type only
    assert SCALED["fallback"]["behavior"] == "currentReplicasIfHigher"
    down = SCALED["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert down == {
        "stabilizationWindowSeconds": 300,
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
    }
    assert SCALED["minReplicaCount"] >= 1
    # `make chart` holds the whole against KEDA's own schema; a key with a typo would be dropped without a word.
    counts = {"pollingInterval", "minReplicaCount", "maxReplicaCount"}
    assert SCALED.keys() == {"scaleTargetRef", "fallback", "triggers", "advanced", *counts}


def test_a_worker_has_the_time_to_end() -> None:
    """KEDA scales the Deployment in the example; Kubernetes waits longer than Dramatiq does for a message that runs."""
    assert SCALED["scaleTargetRef"] == {"name": WORKERS["metadata"]["name"]}
    assert "replicas" not in WORKERS["spec"]
    pod = WORKERS["spec"]["template"]["spec"]
    command = pod["containers"][0]["command"]
    timeout_ms = int(command[command.index("--worker-shutdown-timeout") + 1])
    assert pod["terminationGracePeriodSeconds"] > timeout_ms / 1000
