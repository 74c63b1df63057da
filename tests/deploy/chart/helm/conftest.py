"""helm, with which `make chart` runs these tests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.chart import tools
from tests.deploy.chart.rendering import CHART, documents

#: Takes values and more options of `helm template`.
Template = Callable[..., list[dict[str, Any]]]
#: Takes values, and returns the words of the refusal.
Refusal = Callable[..., str]


@pytest.fixture(scope="session")
def helm() -> Path:
    """The program."""
    return tools.helm()


@pytest.fixture
def run(helm: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Render the chart with these values, as a file."""

    def run(values: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "values.json"
        file.write_text(json.dumps(values))
        argv = [str(helm), "template", "bridge", str(CHART), "--values", str(file), *options]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def template(run: Callable[..., subprocess.CompletedProcess[str]]) -> Template:
    """Render the chart, and return its objects."""

    def template(values: dict[str, Any], *options: str) -> list[dict[str, Any]]:
        done = run(values, *options)
        assert done.returncode == 0, done.stderr
        return documents(done.stdout)

    return template


@pytest.fixture
def refusal(run: Callable[..., subprocess.CompletedProcess[str]]) -> Refusal:
    """Render the chart in vain, and return the words."""

    def refusal(values: dict[str, Any], *options: str) -> str:
        done = run(values, *options)
        assert done.returncode != 0, done.stdout
        # Words for people, and no error of a template's machinery.
        assert "nil pointer" not in done.stderr
        assert "error calling" not in done.stderr
        return done.stderr

    return refusal
