"""The value files, and the manifests that `make chart` renders from them; each says of which bytes it was made."""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.children import REPOSITORY

CHART: Final = REPOSITORY / "deploy/helm/dramatiq-bridge"
KUBERNETES: Final = REPOSITORY / "deploy/kubernetes"
#: Written by hand.
KEDA: Final = REPOSITORY / "deploy/keda/workers.yaml"
HERE: Final = Path(__file__).parent
#: Of the chart, the copies of files that others own.
COPIES: Final = {
    REPOSITORY / "deploy/prometheus/alerts.yaml": CHART / "files/alerts.yaml",
    REPOSITORY / "deploy/grafana/dramatiq-bridge.json": CHART / "files/dashboard.json",
}
#: What helm renders for where a value file names no version.
NEWEST: Final = "1.37.0"
#: Labels of an object that helm manages; those of deploy/kubernetes are kubectl's.
_OF_HELM: Final = re.compile(r"^ +(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n", re.MULTILINE)
_SHA256: Final = re.compile(r"^# sha256: ([0-9a-f]{64})\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Rendering:
    """One value file, and the manifests that it gives. Its first comments say where they go, for which Kubernetes and release."""

    values: Path

    @property
    def name(self) -> str:
        """The name of the value file, and of the rendered one."""
        return self.values.stem

    @property
    def target(self) -> Path:
        """The rendered file."""
        target = self._word("target")
        return REPOSITORY / target if target else HERE / "rendered" / self.values.name

    @property
    def kube_version(self) -> str:
        """The Kubernetes that helm renders for."""
        return self._word("kube-version") or NEWEST

    @property
    def is_plain(self) -> bool:
        """Whether the result is for kubectl: without the labels of helm and without the pod of `helm test`."""
        return self.target.parent == KUBERNETES

    @property
    def release(self) -> str:
        """The name of the release."""
        return self._word("release") or "bridge"

    def _word(self, key: str) -> str:
        match = re.search(rf"^# {key}: (.*)$", self.values.read_text(), re.MULTILINE)
        return match[1] if match else ""

    def _comments(self) -> str:
        """Return the comments at the beginning of the value file, which say what it shows."""
        lines = self.values.read_text().splitlines(keepends=True)
        comments = "".join(itertools.takewhile(lambda line: line.startswith("#"), lines))
        return re.sub(r"^# (target|kube-version|release): .*\n", "", comments, flags=re.MULTILINE)

    def file(self, helm_output: str) -> str:
        """Return the text of the rendered file: a header, and the output of `helm template`."""
        body = _OF_HELM.sub("", helm_output) if self.is_plain else helm_output
        body = "\n".join(line.rstrip() for line in body.strip().splitlines()) + "\n"
        values = self.values.relative_to(REPOSITORY)
        words = f"# Rendered by `make chart` from deploy/helm/dramatiq-bridge and {values}"
        words += ".\n" if self.is_plain else ": change those, and not this.\n"
        return f"{words}{self._comments()}# sha256: {self.digest(body)}\n{body}"

    def digest(self, body: str) -> str:
        """Return the digest of everything that the file is made of, the chart and the values, and of the body itself."""
        digest = hashlib.sha256()
        for path in (*chart_files(), self.values):
            digest.update(f"{path.relative_to(REPOSITORY)}\n".encode() + path.read_bytes())
        digest.update(body.encode())
        return digest.hexdigest()

    def is_in_step(self) -> bool:
        """Whether the rendered file was made of the present chart and values, and nobody has changed it since."""
        text = self.target.read_text()
        match = _SHA256.search(text)
        return match is not None and match[1] == self.digest(text[match.end() :])

    def documents(self) -> list[dict[str, Any]]:
        """Return the rendered objects."""
        return documents(self.target.read_text())

    def given(self) -> dict[str, Any]:
        """Return the values that the file gives."""
        values: dict[str, Any] = yaml.safe_load(self.values.read_text())
        return values


def documents(text: str) -> list[dict[str, Any]]:
    """Return the objects in a text of YAML."""
    return [each for each in yaml.safe_load_all(text) if each is not None]


def renderings() -> list[Rendering]:
    """Return one for each value file."""
    return [Rendering(path) for path in sorted((HERE / "values").glob("*.yaml"))]


def chart_files() -> list[Path]:
    """Return the files of the chart from which manifests are made; a test compares the copies of others' files with them."""
    files = {path for path in CHART.rglob("*") if path.is_file() and path.suffix != ".md"}
    return sorted(files - set(COPIES.values()))
