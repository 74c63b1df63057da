"""What others say of the Dockerfile, the compose file and the workflow: their linters and schemas come with .venv-release."""

from __future__ import annotations

import pytest

from tests.deploy.real.test_packages import TOOLS, run


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    """The Dockerfile follows every rule of hadolint: none is switched off."""
    assert run(TOOLS / "hadolint", "--no-color", "--failure-threshold=style", "deploy/docker/Dockerfile") == ""


@pytest.mark.parametrize(
    ("schema", "path"),
    [("compose-spec", "deploy/docker/compose.yaml"), ("github-workflows", ".github/workflows/release.yml")],
    ids=["compose", "workflow"],
)
def test_a_file_fits_its_published_schema(schema: str, path: str) -> None:
    """The compose file is one of the compose specification, the workflow one of GitHub's."""
    assert "ok -- validation done" in run(TOOLS / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", path)
