"""The programs and schemas of `make chart`, kept in one folder: helm, and the CRDs of the Prometheus Operator and of KEDA."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import yaml

#: Each is a Go module; Go checks it against the checksum database.
HELM: Final = ("helm.sh/helm/v4", "v4.3.1")
OPERATOR: Final = ("github.com/prometheus-operator/prometheus-operator", "v0.85.0")
KEDA: Final = ("github.com/kedacore/keda/v2", "v2.21.0")
_CRDS: Final = (
    (OPERATOR, "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"),
    (OPERATOR, "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"),
    (KEDA, "config/crd/bases/keda.sh_scaledobjects.yaml"),
)


class MissingTool(Exception):
    """A program that is needed, and how to get it."""


def folder() -> Path:
    """Return where everything lies, once."""
    return Path(os.environ.get("CHART_DIR") or "/var/tmp/dramatiq-bridge-chart")


def helm() -> Path:
    """Return the program, which is built where this version is missing: some minutes, once."""
    program = folder() / "bin/helm"
    if program.exists() and f"\tmod\t{HELM[0]}\t{HELM[1]}\t" in _go("version", "-m", str(program)):
        return program
    print(f"building helm {HELM[1]} (some minutes, once) ...", file=sys.stderr, flush=True)
    _go("install", f"{HELM[0]}/cmd/helm@{HELM[1]}", GOBIN=str(program.parent))
    return program


def crds() -> list[dict[str, Any]]:
    """Return the definitions of the custom resources."""
    found = []
    for module, path in _CRDS:
        kept = folder() / "crds" / f"{Path(path).stem}-{module[1]}.yaml"
        if not kept.exists():
            place = json.loads(_go("mod", "download", "-json", "@".join(module)))["Dir"]
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(place) / path, kept)
        found.append(yaml.safe_load(kept.read_text()))
    return found


def _go(*argv: str, **environ: str) -> str:
    go = shutil.which("go")
    if go is None:
        raise MissingTool(
            "make chart: Go is missing, which builds helm and fetches the CRDs: apt-get install golang, or go.dev"
        )
    # From a folder without a go.mod.
    folder().mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [go, *argv], cwd=folder(), env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise MissingTool(f"make chart: go {' '.join(argv[:2])} has failed:\n{words}")
    return done.stdout
