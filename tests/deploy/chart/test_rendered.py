"""The rendered manifests are of the present chart, and Kubernetes takes them; `make chart` writes them anew."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import bridge
from tests.deploy.chart import schemas
from tests.deploy.chart.__main__ import main
from tests.deploy.chart.pods import ALL, objects, of_kind, workload
from tests.deploy.chart.rendering import CHART, COPIES, HERE, KEDA, KUBERNETES, documents
from tests.support.children import REPOSITORY


def test_the_rendered_files_are_in_step_with_the_chart() -> None:
    """A chart or a value file that has changed, or a rendered file that was changed by hand, is noticed without helm."""
    assert [each.name for each in ALL if not each.is_in_step()] == [], "run `make chart`"


def test_a_change_of_one_byte_is_noticed() -> None:
    """The digest is one over everything: also over the rendered text."""
    (rendering,) = (each for each in ALL if each.name == "default")
    body = rendering.target.read_text().partition("\n---\n")[2]
    assert rendering.digest(body) != rendering.digest(body.replace("runAsNonRoot: true", "runAsNonRoot: null"))


def test_each_rendered_file_has_its_values() -> None:
    """No rendered file is left of values that are gone."""
    written = {*(HERE / "rendered").glob("*.yaml"), *KUBERNETES.glob("*.yaml")}
    assert written == {each.target for each in ALL}
    assert len(ALL) >= 8


def test_the_plain_manifests_live_side_by_side() -> None:
    """`kubectl apply -f deploy/kubernetes/` makes two bridges: no object replaces another, and no selector finds the other's pods."""
    plain = [each for each in ALL if each.is_plain]
    made = [(found["kind"], found["metadata"]["name"]) for each in plain for found in each.documents()]
    assert len(set(made)) == len(made) > 7
    selectors = [str(workload(each)["spec"]["selector"]) for each in plain]
    assert len(set(selectors)) == len(plain) == 2


def test_the_copies_in_the_chart_are_equal() -> None:
    """The alert rules and the dashboard of the chart are those of deploy/."""
    for original, copied in COPIES.items():
        assert copied.read_bytes() == original.read_bytes(), "run `make chart`"


def test_the_rules_in_a_cluster_are_the_alerts() -> None:
    """The PrometheusRule has each alert as it stands in its file, with Prometheus's own braces."""
    (rule,) = (each for each in objects("monitoring") if each["kind"] == "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((REPOSITORY / "deploy/prometheus/alerts.yaml").read_text())


def _all_documents() -> list[dict[str, Any]]:
    return [*documents(KEDA.read_text()), *(each for rendering in ALL for each in objects(rendering.name))]


@pytest.mark.parametrize("version", [schemas.OLDEST, schemas.NEWEST])
def test_kubernetes_takes_the_manifests(version: str) -> None:
    """Every object is right, and has no field that this Kubernetes does not know."""
    found = list(schemas.mistakes(_all_documents(), version))
    # A field that came with 1.26: the chart leaves it out for an older one, which the values oldest-kubernetes show.
    newer = [each for each in found if version == schemas.OLDEST and "'unhealthyPodEvictionPolicy' was" in each]
    assert found == newer


def test_the_oldest_kubernetes_gets_a_budget_that_it_knows() -> None:
    """The budget of the values oldest-kubernetes is one for 1.25."""
    (rendering,) = (each for each in ALL if each.name == "oldest-kubernetes")
    assert rendering.kube_version == schemas.OLDEST
    assert len(of_kind(rendering, "PodDisruptionBudget")) == 1
    assert list(schemas.mistakes(rendering.documents(), schemas.OLDEST)) == []


def test_a_wrong_field_is_a_mistake() -> None:
    """The look at the schemas finds a typo, in an object of Kubernetes and in a custom resource."""
    pod = copy.deepcopy(next(each for each in objects("default") if each["kind"] == "Pod"))
    pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesytem"] = True
    assert "readOnlyRootFilesytem" in "".join(schemas.mistakes([pod], schemas.NEWEST))
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"interval": {"type": "string"}}}},
    }
    names = {"kind": "ServiceMonitor"}
    crd = {
        "spec": {
            "group": "monitoring.coreos.com",
            "names": names,
            "versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}],
        }
    }
    monitor = {
        "apiVersion": "monitoring.coreos.com/v1",
        **names,
        "metadata": {"name": "x"},
        "spec": {"intervall": "1s"},
    }
    assert "intervall" in "".join(schemas.custom_mistakes([monitor], [crd]))


def test_without_go_it_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make chart` on a machine without Go fails, and names Go."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CHART_DIR", str(tmp_path))
    assert main() == 1
    assert "make chart: Go is missing" in capsys.readouterr().err


def test_the_versions_are_the_programs() -> None:
    """Chart, image and label name the version of the program; the chart says which Kubernetes it was tried with."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == bridge.__version__
    assert chart["kubeVersion"] == f">={schemas.OLDEST}-0"
    for path in (*KUBERNETES.glob("*.yaml"), HERE / "rendered/default.yaml"):
        assert set(re.findall(r"dramatiq-bridge:([0-9.]+)\"", path.read_text())) <= {bridge.__version__}
