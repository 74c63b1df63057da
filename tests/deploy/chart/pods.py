"""Parts of rendered objects, as the tests ask for them."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bridge.config import Config, load
from tests.deploy.chart.rendering import Rendering, renderings

ALL: Final = renderings()
Document = dict[str, Any]
#: Where the bridge's folder of secrets is written in a test.
_CREDENTIALS: Final = "credentials"


@functools.cache
def objects(name: str) -> list[Document]:
    """Return the rendered objects of a value file."""
    (rendering,) = (each for each in ALL if each.name == name)
    return rendering.documents()


def of_kind(rendering: Rendering, *kinds: str) -> list[Document]:
    """Return the objects of these kinds."""
    return [each for each in objects(rendering.name) if each["kind"] in kinds]


def workload(rendering: Rendering) -> Document:
    """Return the Deployment or the StatefulSet of the bridges."""
    (found,) = of_kind(rendering, "Deployment", "StatefulSet")
    return found


def pod_specs(rendering: Rendering) -> Iterator[Document]:
    """Yield the pod of the bridge, and that of `helm test` where there is one."""
    yield workload(rendering)["spec"]["template"]["spec"]
    yield from (each["spec"] for each in of_kind(rendering, "Pod"))


def container(pod: Document) -> Document:
    """Return the only container of a pod."""
    (found,) = pod["containers"]
    result: Document = found
    return result


def volume(pod: Document, name: str) -> Document:
    """Return the volume with this name."""
    (found,) = (each for each in pod["volumes"] if each["name"] == name)
    result: Document = found
    return result


def configuration(rendering: Rendering, folder: Path) -> tuple[Path, dict[str, str]] | None:
    """Write the files of the bridge's pod into `folder`; return its configuration and its environment, None without a ConfigMap.

    Secrets, and the variables that the pod takes from elsewhere, have a value of the test.
    """
    pod = workload(rendering)["spec"]["template"]["spec"]
    name = volume(pod, "config")["configMap"]["name"]
    maps = [each for each in of_kind(rendering, "ConfigMap") if each["metadata"]["name"] == name]
    if not maps:
        return None
    for file, text in maps[0]["data"].items():
        (folder / file).write_text(text)
    given = container(pod)
    environ = {each["name"]: each.get("value", "bridge-0") for each in given["env"]}
    if given.get("envFrom"):
        variables = re.findall(r"\$\{([A-Z_]+)\}", (folder / "bridge.yaml").read_text())
        environ = {**dict.fromkeys(variables, "from-elsewhere"), **environ}
    if "CREDENTIALS_DIRECTORY" in environ:
        (folder / _CREDENTIALS).mkdir()
        for source in volume(pod, "credentials")["projected"]["sources"]:
            for item in source["secret"]["items"]:
                (folder / _CREDENTIALS / item["path"]).write_text("a-secret-of-the-test")
        environ["CREDENTIALS_DIRECTORY"] = str(folder / _CREDENTIALS)
    return folder / "bridge.yaml", environ


def loaded(rendering: Rendering, folder: Path) -> Config | None:
    """Return the configuration of the bridge, as it would load it in its pod."""
    found = configuration(rendering, folder)
    return None if found is None else load(str(found[0]), environ=found[1])
