"""What helm makes of the values: the configuration means the same, and a change of it reaches the pods."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from bridge.config import load
from bridge.errors import ConfigError
from tests.deploy.chart.helm.conftest import Template
from tests.deploy.chart.helm.test_refusals import IMAGE, ORDERS
from tests.deploy.chart.rendering import CHART, documents
from tests.support.children import REPOSITORY

#: Every setting of the bridge; its passwords have no default, so that they may stand in a ConfigMap.
EVERY_SETTING: Final = REPOSITORY / "config/bridge.yaml"
EXAMPLES: Final = sorted((REPOSITORY / "config/examples").glob("*.yaml"))


def _workload(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = (each for each in objects if each["kind"] in {"Deployment", "StatefulSet"})
    return found


def _file(objects: list[dict[str, Any]]) -> str:
    (found,) = (each for each in objects if each["kind"] == "ConfigMap")
    text: str = found["data"]["bridge.yaml"]
    return text


@pytest.mark.parametrize("path", [EVERY_SETTING, *EXAMPLES], ids=lambda path: path.name)
def test_a_configuration_means_the_same_in_a_cluster(path: Path, template: Template, tmp_path: Path) -> None:
    """Given as text it arrives byte by byte; given as a map, every value, number and expression is still the same."""
    text = path.read_text()
    assert _file(template({"image": IMAGE, "config": text})) == text
    rendered = tmp_path / "bridge.yaml"
    rendered.write_text(_file(template({"image": IMAGE}, "--values", str(_as_values(path, tmp_path)))))
    for table in path.parent.glob("*.csv"):  # the chart's extraFiles stand beside the file
        shutil.copy(table, tmp_path)
    before, after = load(str(path), environ={}), load(str(rendered), environ={})
    assert after.model_dump() == before.model_dump()


def test_a_map_passes_through_the_yaml_of_helm(template: Template, tmp_path: Path) -> None:
    """The README's reasons to prefer the text: a map loses what helm's YAML 1.1 and its numbers have no room for."""
    path = tmp_path / "bridge.yaml"
    sources = "sources: {a: {type: amqp, url: amqp://r/, queue: q}}"
    path.write_text(f"{sources}\nroutes: [{{from: a, actor: b, args: [on, 012, 1.0, 9007199254740993]}}]\n")
    rendered = _file(template({"image": IMAGE}, "--values", str(_as_values(path, tmp_path))))
    arguments = yaml.safe_load(rendered)["routes"][0]["args"]
    assert arguments == [True, 10, 1, 9007199254740992]
    assert type(arguments[2]) is int
    with pytest.raises(ConfigError, match="unquoted yes, no, on and off are booleans in some YAML"):
        load(str(path), environ={})


def _as_values(path: Path, folder: Path) -> Path:
    """Write values with the file below `config:`, as a person would."""
    values = folder / "map.yaml"
    values.write_text("config:\n" + "".join(f"  {line}" for line in path.read_text().splitlines(keepends=True)))
    return values


def test_a_changed_configuration_restarts_the_pods(template: Template) -> None:
    """The checksum is another where the file or one beside it has changed, and the same where nothing has."""

    def checksum(**values: Any) -> str:
        config = {"sources": {"orders": ORDERS}, **values.pop("config", {})}
        pod = _workload(template({"image": IMAGE, "config": config, **values}))["spec"]["template"]
        result: str = pod["metadata"]["annotations"]["checksum/config"]
        return result

    first = checksum()
    assert checksum() == checksum(podLabels={"team": "shop"}) == first
    assert len({first, checksum(config={"processes": 2}), checksum(extraFiles={"bridge_test.yaml": "tests: []"})}) == 3


def test_a_pod_that_reloads_restarts_only_for_what_no_reload_takes_over(template: Template) -> None:
    """Another `processes` or `spool` is a rollout, and another source is none."""

    def annotations(**config: Any) -> Any:
        config = {"sources": {"orders": ORDERS}, **config}
        values = {"image": IMAGE, "config": config, "onConfigChange": "reload"}
        return _workload(template(values))["spec"]["template"]["metadata"]["annotations"]

    first = annotations()
    assert annotations(sources={"orders": ORDERS, "more": ORDERS}) == first
    assert annotations(processes=2) != first
    spools = [
        annotations(spool={"directory": "/var/lib/dramatiq-bridge/spool", "max_size": size})
        for size in ("64MiB", "65MiB")
    ]
    assert spools[0] != spools[1]


def test_an_own_annotation_changes_nothing_of_the_charts(template: Template) -> None:
    """Labels and annotations of the user come beside those by which the chart finds its pods."""
    labels = {"team": "shop", "app.kubernetes.io/name": "mine"}
    values: dict[str, Any] = {"image": IMAGE, "config": {"sources": {"orders": ORDERS}}, "podLabels": labels}
    spec = _workload(template({**values, "podAnnotations": {"a": "b"}}))["spec"]
    assert spec["template"]["metadata"]["annotations"].keys() > {"a", "checksum/config"}
    assert spec["template"]["metadata"]["labels"].items() > spec["selector"]["matchLabels"].items()


def test_the_dashboard_is_found_by_grafana(template: Template) -> None:
    """Its ConfigMap has the label that Grafana's sidecar looks for, and the dashboard as it is."""
    values = {"image": IMAGE, "existingConfigMap": "mine", "dashboard": {"enabled": True}}
    (found,) = (each for each in template(values) if each["kind"] == "ConfigMap")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    (text,) = found["data"].values()
    assert json.loads(text) == json.loads((REPOSITORY / "deploy/grafana/dramatiq-bridge.json").read_text())


def test_names_stay_within_the_bounds_of_kubernetes(template: Template) -> None:
    """A StatefulSet's pods have a label with its name, eleven characters and a bound of 63."""
    values = {"image": IMAGE, "existingConfigMap": "mine", "kind": "StatefulSet", "fullnameOverride": "a" * 60}
    assert len(_workload(template(values))["metadata"]["name"]) <= 52


NOTES: Final[dict[str, tuple[dict[str, Any], str, str]]] = {
    "rolling": ({"config": {"sources": {"orders": ORDERS}}}, "deployment/bridge-dramatiq-bridge", ""),
    "recreated": (
        {"config": {"sources": {"a": {"type": "redis-pubsub", "url": "redis://redis/", "channels": ["a"]}}}},
        "deployment/bridge-dramatiq-bridge",
        "A rollout ends the old pod before it starts the new one.",
    ),
    "shared-by-word": (
        {"existingConfigMap": "mine", "replicas": 2, "replicasShareEvents": True},
        "deployment/bridge-dramatiq-bridge",
        "",
    ),
    "numbered": (
        {"existingConfigMap": "mine", "kind": "StatefulSet"},
        "statefulset/bridge-dramatiq-bridge",
        "A rollout ends one pod before it starts its successor",
    ),
}


@pytest.mark.parametrize("name", NOTES)
def test_the_notes_name_the_workload_and_the_cost_of_a_rollout(name: str, helm: Path, tmp_path: Path) -> None:
    """After an install a user sees commands that fit the workload, and the price of the next rollout, where there is one."""
    values, workload, cost = NOTES[name]
    file = tmp_path / "values.json"
    file.write_text(json.dumps({"image": IMAGE, **values}))
    argv = [str(helm), "install", "bridge", str(CHART), "--values", str(file), "--dry-run=client"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("\nNOTES:\n")[2]
    assert f"exec {workload} -- dramatiq-bridge status" in notes
    assert cost in notes
    assert ("A rollout" in notes) is bool(cost)


def _blocks() -> Iterator[tuple[str, str]]:
    text = (CHART / "README.md").read_text()
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for command in re.findall(r"^\$ ((?:.*\\\n)*.*)$", block, re.MULTILINE):
            yield command.replace("\\\n", " "), block


COMMANDS: Final = [command for command, _ in _blocks() if command.startswith("helm template ")]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_readme_render(command: str, helm: Path, tmp_path: Path) -> None:
    """In a folder with the README's configuration, each `helm template` gives manifests."""
    text = (CHART / "README.md").read_text()
    for name, body in re.findall(r"`([a-z]+\.yaml)`[^\n]*:\n\n```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(body)
    (tmp_path / "actors.json").write_text("{}")
    (tmp_path / "deploy").symlink_to(REPOSITORY / "deploy")
    words = shlex.split(command.partition(" >")[0])
    done = subprocess.run([str(helm), *words[1:]], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {each["kind"] for each in documents(done.stdout)} >= {"Service", "ConfigMap"}
    assert yaml.safe_load((tmp_path / "bridge.yaml").read_text())["sources"]


def test_the_readme_has_commands() -> None:
    """The commands above are found."""
    assert len(COMMANDS) >= 2
