"""The bridge's own configuration in the chart: it is right, and the kind, the strategy and the replicas follow from it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from bridge import cli
from bridge.config import Config, Mqtt, RedisStream, load
from bridge.sources.sharding import why_not_shareable
from tests.deploy.chart.pods import ALL, configuration, loaded, of_kind, workload
from tests.deploy.chart.rendering import Rendering
from tests.deploy.chart.test_pods import each_rendering

#: Those whose configuration the chart can see.
CONFIGURED: Final = [each for each in ALL if "config" in each.given()]


def _has_fixed_name(config: Config) -> bool:
    """Tell whether two bridges would have one name at a broker: the pod's name of the test is bridge-0."""
    names = [source.client_id for source in config.sources.values() if isinstance(source, Mqtt)]
    names += [source.consumer for source in config.sources.values() if isinstance(source, RedisStream)]
    return any(name is not None and "bridge-0" not in name for name in names)


@pytest.mark.parametrize("rendering", CONFIGURED, ids=[each.name for each in CONFIGURED])
def test_the_configuration_is_right(
    rendering: Rendering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check` finds no mistake in the file of the ConfigMap; and each secret that it names is a file of the pod."""
    found = configuration(rendering, tmp_path)
    assert found is not None
    path, environ = found
    assert load(str(path), environ=environ).sources
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    # The files of TLS are those of a cluster.
    assert cli.main(["check", "--allow-unset", str(path)]) == 0
    assert f"{path}: ok" in capsys.readouterr().out


@each_rendering
def test_replicas_and_strategy_follow_from_the_sources(rendering: Rendering, tmp_path: Path) -> None:
    """More than one bridge, also for the seconds of a rollout, run only where they share the events, by names of their own."""
    spec, kind = workload(rendering)["spec"], workload(rendering)["kind"]
    config = loaded(rendering, tmp_path)
    if config is None:
        alone = not rendering.given().get("replicasShareEvents", False)
    else:
        alone = any(why_not_shareable(each) for each in config.sources.values()) or _has_fixed_name(config)
    if alone:
        assert spec["replicas"] == 1
    if kind == "Deployment":
        without_a_gap = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        assert spec["strategy"] == ({"type": "Recreate"} if alone else without_a_gap)
    else:
        # A StatefulSet always ends a pod before its successor starts.
        assert spec["updateStrategy"] == {"type": "RollingUpdate"}
        assert spec["podManagementPolicy"] == "Parallel"
        (service,) = of_kind(rendering, "Service")
        assert spec["serviceName"] == service["metadata"]["name"]
        assert service["spec"]["clusterIP"] == "None"


@each_rendering
def test_a_spool_has_a_volume_of_its_own(rendering: Rendering, tmp_path: Path) -> None:
    """A spool is in a StatefulSet's volume, which is large enough, and which nobody deletes with its pod."""
    spec = workload(rendering)["spec"]
    config = loaded(rendering, tmp_path)
    claims = spec.get("volumeClaimTemplates", [])
    has_spool = config.spool is not None if config else rendering.given().get("persistence", {}).get("enabled", False)
    assert len(claims) == int(has_spool)
    if not has_spool:
        return
    assert workload(rendering)["kind"] == "StatefulSet"
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    (mount,) = (each for each in spec["template"]["spec"]["containers"][0]["volumeMounts"] if each["name"] == "state")
    if config is not None and config.spool is not None:
        assert Path(config.spool.directory).parent.is_relative_to(mount["mountPath"])
        size = claims[0]["spec"]["resources"]["requests"]["storage"]
        assert int(size.removesuffix("Gi")) << 30 >= config.spool.max_size


@each_rendering
def test_a_pod_follows_its_configuration(rendering: Rendering) -> None:
    """A changed configuration reaches the bridge: by a restart, which the checksum brings about, or by the bridge's own look."""
    given = rendering.given()
    annotations = workload(rendering)["spec"]["template"]["metadata"]["annotations"]
    restarts = given.get("onConfigChange", "restart") == "restart" and "existingConfigMap" not in given
    assert ("checksum/config" in annotations) is restarts


def test_more_than_one_replica_has_a_budget_that_ends() -> None:
    """Several bridges are never drained at once; one alone, or one that is not ready, never keeps a node from being drained."""
    for rendering in ALL:
        budgets = of_kind(rendering, "PodDisruptionBudget")
        assert len(budgets) == int(workload(rendering)["spec"]["replicas"] > 1), rendering.name
        for budget in budgets:
            assert budget["spec"]["maxUnavailable"] == 1
            always = budget["spec"].get("unhealthyPodEvictionPolicy")
            assert always == (None if rendering.kube_version == "1.25.0" else "AlwaysAllow")
