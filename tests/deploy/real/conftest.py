"""The release that is deployed, and machines that have it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.real.machine import Machine, make_root
from tests.deploy.real.service import Service, install
from tests.support.children import REPOSITORY


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of this tree."""
    folder = tmp_path_factory.mktemp("release")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, stdout=sys.stderr)
    return folder


@pytest.fixture(scope="session")
def deploy_roots() -> Path:
    """The folder where roots and images are kept."""
    return Path(os.environ.get("DEPLOY_ROOTS", "/var/tmp/dramatiq-bridge-deploy"))


@pytest.fixture(scope="session", params=["bookworm", "trixie"])
def machine(
    request: pytest.FixtureRequest, deploy_roots: Path, release: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """A machine of each Debian release, with the bridge installed as docs/deployment.md says."""
    root = make_root(request.param, deploy_roots)
    log = tmp_path_factory.mktemp("machine") / "log"
    with Machine(root, log, {"/root/release": release}) as machine:
        install(machine)
        yield machine


@pytest.fixture
def service(machine: Machine) -> Service:
    """The unit, stopped, without configuration, drop-in, state and journal of another test."""
    service = Service(machine)
    service.reset()
    return service
