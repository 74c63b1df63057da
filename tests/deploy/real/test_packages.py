"""The wheel, the sdist, the lock and the bill of materials of a release; .venv-release has the tools that make them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

import bridge
from tests.support.children import REPOSITORY

TOOLS = REPOSITORY / ".venv-release/bin"
PYTHONS = ("3.11", "3.12", "3.13")
GLIBC = ("manylinux_2_17", "manylinux_2_28")
MUSL = ("musllinux_1_1", "musllinux_1_2")
LOCK = REPOSITORY / "requirements/run.txt"


def run(*command: str | Path, **env: str | Path) -> str:
    """Return what a command prints; AssertionError where it fails."""
    # Packages are tried as a user has them, and not with the code of this checkout.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    given = {**clean, **{name: str(value) for name, value in env.items()}}
    done = subprocess.run(command, env=given, cwd=REPOSITORY, stdout=-1, stderr=-2, text=True, timeout=280, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout[-3000:]}"
    return done.stdout


def built(folder: Path, *options: str) -> list[Path]:
    """Return what `python -m build` makes, for a repository with an address."""
    address = "https://example.com/fork"
    run(TOOLS / "python", "-m", "build", "--no-isolation", "--outdir", folder, *options, PROJECT_URL=address)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it."""
    wheel, sdist = built(tmp_path_factory.mktemp("dist"))
    return sdist, wheel


def test_the_sdist_gives_the_same_wheel_as_the_checkout(packages: tuple[Path, Path], tmp_path: Path) -> None:
    """The wheel that the sdist makes is the checkout's, byte by byte, and both are as an index wants them."""
    sdist, wheel = packages
    assert [path.read_bytes() for path in built(tmp_path, "--wheel")] == [wheel.read_bytes()]
    run(TOOLS / "twine", "check", "--strict", sdist, wheel)


def test_a_package_holds_the_program_and_nothing_else(packages: tuple[Path, Path]) -> None:
    """The wheel is bridge/ as it is committed, scripts of Lua and the page with it, and the licence; the sdist has all the rest too."""
    sdist, wheel = packages
    committed = set(run("git", "ls-files").splitlines())
    with zipfile.ZipFile(wheel) as opened:
        in_wheel = {name for name in opened.namelist() if ".dist-info/" not in name}
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in opened.namelist())
    assert in_wheel == {name for name in committed if name.startswith("bridge/")}
    assert {"bridge/sink/enqueue.lua", "bridge/admin/page/index.html", "bridge/py.typed"} <= in_wheel
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    assert in_sdist == committed | {"PKG-INFO"}


def test_a_package_names_the_repository_that_released_it(packages: tuple[Path, Path]) -> None:
    """`pip show` of a released package says where its source is; the wheel of an sdist says what the sdist says."""
    sdist, wheel = packages
    with zipfile.ZipFile(wheel) as opened, tarfile.open(sdist) as archive:
        (name,) = (name for name in opened.namelist() if name.endswith("/METADATA"))
        texts = [opened.read(name).decode()]
        info = archive.extractfile(sdist.name.removesuffix(".tar.gz") + "/PKG-INFO")
        assert info is not None
        texts.append(info.read().decode())
    for text in texts:
        assert "Project-URL: Source, https://example.com/fork\n" in text
        assert f"\nVersion: {bridge.__version__}\n" in text


def test_pipx_installs_it_from_a_file(packages: tuple[Path, Path], tmp_path: Path) -> None:
    """`pipx install FILE.whl[demo]` gives a program that runs the demo to its end."""
    _, wheel = packages
    places = {"PIPX_HOME": tmp_path / "home", "PIPX_BIN_DIR": tmp_path / "bin", "PIPX_MAN_DIR": tmp_path / "man"}
    run(TOOLS / "pipx", "install", f"{wheel}[demo]", **places)
    program = tmp_path / "bin/dramatiq-bridge"
    assert run(program, "--version") == f"dramatiq-bridge {bridge.__version__}\n"
    assert "equal: each event ran exactly once" in run(program, "demo", DEMO_SECONDS="3")


def test_uvx_runs_it_from_a_file(packages: tuple[Path, Path], tmp_path: Path) -> None:
    """`uvx --from FILE dramatiq-bridge` runs it without an installation, from the wheel and from the sdist."""
    for package in packages:
        printed = run(TOOLS / "uvx", "--from", package, "dramatiq-bridge", "--version", UV_CACHE_DIR=tmp_path)
        assert printed.splitlines()[-1] == f"dramatiq-bridge {bridge.__version__}"


def download(lock: str, folder: Path, python: str, platforms: list[str]) -> list[Path]:
    """Return the wheels of a lock, each checked by its hash, for a Python and a machine that are not these."""
    path = folder / "lock.txt"
    path.write_text(lock)
    wanted = [f"--platform={platform}" for platform in platforms]
    abis = [f"--abi={abi}" for abi in (f"cp{python.replace('.', '')}", "abi3", "none")]
    strict = ["--require-hashes", "--only-binary=:all:", "--no-deps", "--disable-pip-version-check"]
    target = ["--python-version", python, "--implementation", "cp", *abis, *wanted, "--dest", str(folder / "wheels")]
    run(TOOLS / "python", "-m", "pip", "download", *strict, *target, "-r", path)
    return list((folder / "wheels").iterdir())


def unmarked() -> str:
    """Return the lock with the libraries that only some Pythons need, for all of them."""
    return re.sub(r" ; [^\\\n]*", " ", LOCK.read_text())


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("python", PYTHONS)
def test_each_library_has_a_wheel_that_the_lock_knows(python: str, machine: str, tmp_path: Path) -> None:
    """On any Linux with glibc the whole lock installs without a compiler, for each Python and on both machines."""
    lock = unmarked()
    wheels = download(lock, tmp_path, python, [f"{name}_{machine}" for name in GLIBC])
    assert len(wheels) == len(re.findall(r"^\S+==", lock, re.MULTILINE)) > 20


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_on_musl_one_library_has_no_wheel(machine: str, tmp_path: Path) -> None:
    """On Alpine google-re2, and nothing else, has to be compiled: docs/deployment.md says so."""
    blocks = re.split(r"^(?=\S)", unmarked(), flags=re.MULTILINE)
    without = "".join(block for block in blocks if not block.startswith("google-re2=="))
    (alone,) = (block for block in blocks if block.startswith("google-re2=="))
    platforms = [f"{name}_{machine}" for name in MUSL]
    assert len(download(without, tmp_path, "3.13", platforms)) > 20
    with pytest.raises(AssertionError, match="No matching distribution found for google-re2"):
        download(alone, tmp_path, "3.13", platforms)


def test_the_bill_of_materials_names_all_of_the_lock(tmp_path: Path) -> None:
    """Each library of the lock stands in the bill with its version, its hashes and a licence; twice it is the same, byte by byte."""
    bills = []
    for name in ("first", "second"):
        printed = run(TOOLS / "python", ".ci/sbom.py", tmp_path / name)
        assert "valid CycloneDX 1.6" in printed
        bills.append((tmp_path / name / f"dramatiq-bridge-{bridge.__version__}.cdx.json").read_text())
    assert bills[0] == bills[1]
    assert str(REPOSITORY) not in bills[0]
    bill = json.loads(bills[0])
    lock = LOCK.read_text()
    pinned = dict(re.findall(r"^([\w-]+)(?:\[\S+\])?==([^\s;]+)", lock, re.MULTILINE))
    assert {re.sub(r"_", "-", each["name"]).lower(): each["version"] for each in bill["components"]} == pinned
    hashes = {
        found["content"]
        for each in bill["components"]
        for reference in each["externalReferences"]
        for found in reference.get("hashes", [])
    }
    assert hashes == set(re.findall(r"sha256:([0-9a-f]{64})", lock))
    assert [each["name"] for each in bill["components"] if not each.get("licenses")] == []
    assert bill["metadata"]["component"]["version"] == bridge.__version__
