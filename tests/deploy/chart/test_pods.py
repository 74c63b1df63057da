"""Every rendered pod: what it may do, how long it has, who asks it, and which files it sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

import bridge
from bridge.commands.arguments import command_line
from bridge.config import AdminSettings
from tests.deploy.chart.pods import ALL, container, loaded, of_kind, pod_specs, volume, workload
from tests.deploy.chart.rendering import Rendering

#: Volumes that Pod Security's level "restricted" permits.
_VOLUMES: Final = {"configMap", "projected", "secret", "emptyDir", "persistentVolumeClaim"}

each_rendering = pytest.mark.parametrize("rendering", ALL, ids=[each.name for each in ALL])


@each_rendering
def test_a_pod_is_restricted(rendering: Rendering) -> None:
    """Pod Security's level "restricted" holds, the root is read-only, and there is no token of the cluster."""
    pods = list(pod_specs(rendering))
    assert len(pods) == (1 if rendering.is_plain else 2)
    for pod in pods:
        security, own = pod["securityContext"], container(pod)["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert own == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert all(each.keys() - {"name"} <= _VOLUMES for each in pod["volumes"])
        user = rendering.given().get("runAsUser", 10001)
        users = {security.get(key) for key in ("runAsUser", "runAsGroup", "fsGroup")}
        assert users == {user}


@each_rendering
def test_a_pod_has_longer_than_the_drain(rendering: Rendering, tmp_path: Path) -> None:
    """Kubernetes kills the bridge after the 5 s that it takes at most beyond its drain_timeout."""
    grace = workload(rendering)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    config = loaded(rendering, tmp_path)
    assert grace > (20 if config is None else config.drain_timeout / 1000) + 5
    assert {"openshift": 100, "existing-configmap": 75}.get(rendering.name, 30) == grace


@each_rendering
def test_the_probes_ask_the_admin_server(rendering: Rendering) -> None:
    """The kubelet asks where the bridge listens: whether it lives, and, for the Service and a rollout, whether it is ready."""
    given = container(next(pod_specs(rendering)))
    probes = {name: given[f"{name}Probe"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["httpGet"]["path"] for name, probe in probes.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert {probe["httpGet"]["port"] for probe in probes.values()} == {"admin"}
    (port,) = given["ports"]
    arguments = command_line().parse_args(given["args"])
    admin = AdminSettings(listen=arguments.admin)
    assert (port["name"], port["containerPort"]) == ("admin", admin.port)
    assert admin.host in {"0.0.0.0", "::"}  # noqa: S104 - the kubelet comes by the pod's address
    # A broken bridge is replaced within a minute and some seconds, and a slow answer is none.
    liveness = probes["liveness"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] == 60


@each_rendering
def test_the_arguments_are_those_of_the_program(rendering: Rendering) -> None:
    """`run` and `check` know each option, and read the file that is mounted."""
    for pod in pod_specs(rendering):
        given = container(pod)
        arguments = command_line().parse_args(given["args"])
        mounts = {mount["name"]: mount for mount in given["volumeMounts"]}
        (file,) = [arguments.config] if isinstance(arguments.config, str) else arguments.config
        assert file == f"{mounts['config']['mountPath']}/bridge.yaml"
        # The kubelet never changes a file that is mounted by a subPath.
        assert not any("subPath" in mount for mount in mounts.values())
        if arguments.command == "run":
            assert arguments.reload_on_change is (rendering.given().get("onConfigChange") == "reload")
        else:
            assert (arguments.command, arguments.connect) == ("check", True)


@each_rendering
def test_secrets_are_files_of_the_bridges_group(rendering: Rendering) -> None:
    """Each entry of `secrets` is a file in CREDENTIALS_DIRECTORY, readable by user and group alone, also for `helm test`."""
    secrets = rendering.given().get("secrets", [])
    for pod in pod_specs(rendering):
        environ = {each["name"]: each for each in container(pod)["env"]}
        assert environ["POD_NAME"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
        mounts = {mount["name"]: mount for mount in container(pod)["volumeMounts"]}
        assert ("credentials" in mounts) == ("CREDENTIALS_DIRECTORY" in environ) == bool(secrets)
        if secrets:
            assert environ["CREDENTIALS_DIRECTORY"]["value"] == mounts["credentials"]["mountPath"]
            projected = volume(pod, "credentials")["projected"]
            assert projected["defaultMode"] == 0o440
            assert [
                (each["secret"]["name"], each["secret"]["items"][0]["key"], each["secret"]["items"][0]["path"])
                for each in projected["sources"]
            ] == [(each["secretName"], each.get("key", each["name"]), each["name"]) for each in secrets]


@each_rendering
def test_every_mount_has_its_volume(rendering: Rendering) -> None:
    """The configuration and secrets are read-only; the one place to write to is the volume of the spool."""
    template = workload(rendering)["spec"]
    claims = {each["metadata"]["name"] for each in template.get("volumeClaimTemplates", [])}
    for pod in pod_specs(rendering):
        mounts = container(pod)["volumeMounts"]
        names = {mount["name"] for mount in mounts}
        writable = {mount["name"] for mount in mounts if not mount.get("readOnly")}
        declared = {each["name"] for each in pod["volumes"]}
        assert names <= declared | claims
        assert declared <= names
        is_bridge = pod is template["template"]["spec"]
        assert writable == (claims if is_bridge else set())


@each_rendering
def test_selectors_fit_the_pods_of_the_bridge(rendering: Rendering) -> None:
    """The workload, the Service and the budget select the bridges and not the pod of `helm test`; the NetworkPolicy both."""
    labels_of_bridge = workload(rendering)["spec"]["template"]["metadata"]["labels"]
    checks = [each["metadata"]["labels"] for each in of_kind(rendering, "Pod")]
    (service,) = of_kind(rendering, "Service")
    selectors: list[dict[str, Any]] = [
        workload(rendering)["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        *(each["spec"]["selector"]["matchLabels"] for each in of_kind(rendering, "PodDisruptionBudget")),
    ]
    for selector in selectors:
        assert selector.items() <= labels_of_bridge.items()
        assert not any(selector.items() <= labels.items() for labels in checks)
    assert service["spec"]["publishNotReadyAddresses"] is True  # Prometheus asks those that are not ready too
    for policy in of_kind(rendering, "NetworkPolicy"):
        selector = policy["spec"]["podSelector"]["matchLabels"]
        assert all(selector.items() <= labels.items() for labels in (labels_of_bridge, *checks))
    for monitor in of_kind(rendering, "ServiceMonitor"):
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert {each["port"] for each in monitor["spec"]["endpoints"]} == {
            each["name"] for each in service["spec"]["ports"]
        }


@each_rendering
def test_bridges_are_spread(rendering: Rendering) -> None:
    """Replicas of one release go to different nodes and zones, where there are some."""
    template = workload(rendering)["spec"]["template"]
    constraints = template["spec"]["topologySpreadConstraints"]
    if (given := rendering.given().get("topologySpreadConstraints")) is not None:
        assert constraints == given
        return
    assert [each["topologyKey"] for each in constraints] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    for each in constraints:
        assert each["whenUnsatisfiable"] == "ScheduleAnyway"
        assert each["labelSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()


@each_rendering
def test_nobody_reaches_more_than_the_admin_port(rendering: Rendering) -> None:
    """A NetworkPolicy opens the admin port and no other; with rules for the brokers it closes the way out, but for DNS."""
    policies = of_kind(rendering, "NetworkPolicy")
    given = rendering.given().get("networkPolicy", {})
    assert len(policies) == int(given.get("enabled", True))
    for policy in policies:
        spec = policy["spec"]
        (rule,) = spec["ingress"]
        assert rule["ports"] == [{"port": 9464, "protocol": "TCP"}]
        assert rule.get("from") == given.get("ingressFrom")
        assert spec["policyTypes"] == (["Ingress", "Egress"] if given.get("egress") else ["Ingress"])
        if given.get("egress"):
            dns, *brokers = spec["egress"]
            assert dns == {
                "ports": [{"port": port, "protocol": name} for port in (53, 5353) for name in ("UDP", "TCP")]
            }
            assert brokers == given["egress"]


def test_a_pod_is_placed_as_the_values_say() -> None:
    """Each value by which a cluster chooses, fetches and bounds a pod is in the bridge's pod and in that of `helm test`."""
    (rendering,) = (each for each in ALL if each.name == "replicas")
    given = rendering.given()
    placed = ("imagePullSecrets", "serviceAccountName", "nodeSelector", "tolerations", "affinity", "priorityClassName")
    for pod in pod_specs(rendering):
        assert {key: pod[key] for key in placed} == {key: given[key] for key in placed}
        assert container(pod)["resources"] == given["resources"]
    metadata = workload(rendering)["spec"]["template"]["metadata"]
    assert metadata["labels"].items() > given["podLabels"].items()
    assert metadata["annotations"].items() > given["podAnnotations"].items()
    assert workload(rendering)["metadata"]["name"] == given["fullnameOverride"]


def test_an_image_is_named_by_its_digest_or_its_tag() -> None:
    """A digest wins; without either it is the version of the chart."""
    images = {each.name: container(next(pod_specs(each)))["image"] for each in ALL}
    assert images["pubsub"].startswith("registry.example.com:5000/team/dramatiq-bridge@sha256:0123456789abcdef")
    assert images["spool-of-broadcasts"] == "registry.example.com/dramatiq-bridge:0.2.0-1"
    assert images["default"] == f"registry.example.com/dramatiq-bridge:{bridge.__version__}"
