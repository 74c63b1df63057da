"""The workflow of a release: no runner of GitHub is here, so three of its steps are run, and the names in the others are looked up."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import bridge
from tests.support.children import REPOSITORY

WORKFLOW: dict[str, Any] = yaml.safe_load((REPOSITORY / ".github/workflows/release.yml").read_text())
STEPS: list[dict[str, Any]] = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]


def run(name: str, cwd: Path, **env: str) -> int:
    """Run one step as the runner does, and return its exit code."""
    (step,) = (step for step in STEPS if step.get("name") == name)
    given = {"PATH": "/usr/bin:/bin", "RUNNER_TEMP": str(cwd), **env}
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", step["run"]], cwd=cwd, env=given, check=False
    ).returncode


@pytest.mark.parametrize(("tag", "code"), [(f"v{bridge.__version__}", 0), ("v9.9.9", 1), (bridge.__version__, 1)])
def test_a_tag_that_is_not_the_programs_version_releases_nothing(tag: str, code: int) -> None:
    """Only the tag with `v` and the version of bridge/__init__.py goes on."""
    assert run("the tag is the program's version", REPOSITORY, GITHUB_REF_NAME=tag) == code


def test_the_notes_of_a_release_are_its_section_of_the_changelog(tmp_path: Path) -> None:
    """The notes are the section between this version's heading and the next; a version without one is not released."""
    sections = "# Changelog\n\n## [Unreleased]\n\n- later\n\n## [0.2.0] - 2026-11-28\n\n- new\n\n## [0.1.0]\n\n- old\n"
    (tmp_path / "CHANGELOG.md").write_text(sections)
    assert run("the changes have a section of their own", tmp_path, GITHUB_REF_NAME="v0.2.0") == 0
    assert (tmp_path / "notes.md").read_text().strip() == "- new"
    assert run("the changes have a section of their own", tmp_path, GITHUB_REF_NAME="v0.3.0") == 1


def test_the_digest_of_the_base_is_asked_for_the_base_of_the_dockerfile(tmp_path: Path) -> None:
    """The step reads the base from the Dockerfile, asks the registry, and hands on name and digest."""
    program = tmp_path / "docker"
    program.write_text(
        '#!/bin/sh\n[ "$*" = "buildx imagetools inspect --format {{.Manifest.Digest}} $BASE" ] && echo sha256:abc\n'
    )
    program.chmod(0o755)
    dockerfile = (REPOSITORY / "deploy/docker/Dockerfile").read_text()
    (base,) = re.findall(r"^ARG BASE=(\S+)$", dockerfile, re.MULTILINE)
    output = tmp_path / "output"
    path = f"{tmp_path}:/usr/bin:/bin"
    name = "the digest to which the base's tag points today"
    assert run(name, REPOSITORY, PATH=path, BASE=base, GITHUB_OUTPUT=str(output)) == 0
    assert output.read_text() == f"name={base}@sha256:abc\n"


def test_the_commands_name_things_that_exist() -> None:
    """Each target of make, each script, each build argument and each earlier step that the workflow names is there."""
    commands = "\n".join(step.get("run", "") for step in STEPS)
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = [target for line in re.findall(r"^make (.+)$", commands, re.MULTILINE) for target in line.split()]
    assert {"dist", "sbom", "audit"} == set(targets)
    assert [target for target in targets if f"\n{target}: " not in makefile] == []
    paths = set(re.findall(r"(?<![\w/$.])(?:\.ci|bridge|deploy|requirements)/[\w./-]+", commands))
    assert len(paths) == 3
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []
    dockerfile = (REPOSITORY / "deploy/docker/Dockerfile").read_text()
    declared = {
        name for line in re.findall(r"^ARG (.+)$", dockerfile, re.MULTILINE) for name in re.findall(r"[A-Z]+", line)
    }
    given = set(re.findall(r"--build-arg (\w+)=", commands))
    assert given == {"BASE", "VERSION", "REVISION", "SOURCE", "CREATED"} <= declared
    text = (REPOSITORY / ".github/workflows/release.yml").read_text()
    named = {step["id"] for step in STEPS if "id" in step}
    assert set(re.findall(r"steps\.(\w+)\.", text)) == named


def test_nothing_is_run_that_may_change_unseen() -> None:
    """Each action is pinned to a commit, with its release beside it; each job has an end and no more rights than it names."""
    text = (REPOSITORY / ".github/workflows/release.yml").read_text()
    used = re.findall(r"uses: (.+)$", text, re.MULTILINE)
    assert len(used) == 6
    assert [each for each in used if not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)] == []
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert all(job["permissions"] and job["timeout-minutes"] for job in WORKFLOW["jobs"].values())
    # The tests run the code of many libraries, and no image is run beside the token of the registry.
    assert WORKFLOW["jobs"]["packages"]["permissions"] == {"contents": "read"}
    assert "docker run" not in text
    # An expression in a command could be a command: values come by the environment.
    assert [step for step in STEPS if "${{" in step.get("run", "")] == []
