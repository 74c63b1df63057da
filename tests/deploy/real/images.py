"""The image, built by buildah on a stand-in of its base, and containers of it, run by podman.

No registry of images is reached here: a Debian of the same release, with the same Python, takes the place of the official image
(`.ci/root`). Everything lies below DEPLOY_ROOTS, and is kept there.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.support.children import REPOSITORY, Child, wait_until

ROOTS: Final = Path(os.environ.get("DEPLOY_ROOTS", "/var/tmp/dramatiq-bridge-deploy"))
STAND_IN: Final = "localhost/python-stand-in"
IMAGE: Final = "localhost/dramatiq-bridge"
#: Of the stand-in's root: this machine's settings, and everything that no program needs.
_LEFT_OUT: Final = (
    *("var/cache/apt", "var/lib/apt", "var/log", "usr/share/doc", "usr/share/man", "usr/share/locale", "root/.*"),
    *("etc/apt", "etc/pip.conf", "etc/hosts", "etc/resolv.conf", "etc/ssl/certs", "usr/local/share/ca-certificates"),
    *("proc/*", "sys/*", "dev/*"),
)
_STORAGE: Final = ("--root", str(ROOTS / "images/storage"), "--runroot", str(ROOTS / "images/run"))
#: crun knows no machine that has cgroups of both kinds: then podman sees, in a namespace of its own, those of version 2.
_PODMAN: Final = """
if [ "$(stat --file-system --format %T /sys/fs/cgroup)" != cgroup2fs ]; then
    umount --recursive /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup
fi
exec podman "$@"
"""


def buildah(*arguments: str, timeout: float = 500) -> str:
    """Return what buildah prints, its errors too; AssertionError where it fails."""
    command = ["buildah", *_STORAGE, *arguments]
    env = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    done = subprocess.run(  # a root can hold any byte, and so can what is printed there
        command,
        env=env,
        cwd=REPOSITORY,
        stdout=-1,
        stderr=-2,
        timeout=timeout,
        check=False,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, f"{' '.join(arguments[:2])} ended with {done.returncode}:\n{done.stdout[-3000:]}"
    return done.stdout


def podman(*arguments: str) -> list[str]:
    """Return the command that runs podman."""
    return ["unshare", "--mount", "sh", "-c", _PODMAN, "podman", *_STORAGE, "--cgroup-manager=cgroupfs", *arguments]


def run_podman(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run podman to its end."""
    return subprocess.run(podman(*arguments), capture_output=True, text=True, timeout=timeout, check=False)


def make_stand_in() -> None:
    """Import the Debian as an image, once."""
    if STAND_IN in buildah("images", "--format", "{{.Name}}"):
        return
    root = ROOTS / "python-stand-in"
    subprocess.run([".ci/root", "trixie", root, "python3", "python3-venv"], cwd=REPOSITORY, timeout=580, check=True)
    container = buildah("from", "scratch").strip()
    mounted = buildah("mount", container).strip()
    without = " ".join(f"--exclude='./{name}'" for name in _LEFT_OUT)
    copy = f"tar -C {root} --one-file-system {without} -cf - . | tar -C {mounted} -xf -"
    subprocess.run(["bash", "-o", "pipefail", "-c", copy], timeout=300, check=True)
    # Debian's own authorities, and none of this machine's.
    buildah("run", container, "--", "sh", "-c", "mkdir -p /etc/ssl/certs && update-ca-certificates --fresh")
    buildah("config", "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
    buildah("commit", "--quiet", "--format", "docker", "--rm", container, STAND_IN)


def build(folder: Path, tag: str = IMAGE, **build_args: str) -> str:
    """Build the image, with this machine's pip settings as secrets from `folder`; return what the build printed."""
    make_stand_in()
    pip_conf = folder / "pip.conf"
    pip_conf.write_text(_pip_settings())
    secrets = [f"--secret=id=pip.conf,src={pip_conf}"]
    if authorities := os.environ.get("PIP_CERT"):
        secrets.append(f"--secret=id=ca.pem,src={authorities}")
    given = [f"--build-arg={name}={value}" for name, value in {"BASE": STAND_IN, **build_args}.items()]
    # An interrupted run leaves containers, and no image of theirs can go.
    buildah("rm", "--all")
    # Without layers that were kept: each step is really done.
    options = ("--format=docker", "--layers=false", "--force-rm", "--pull-never", "--tag", tag)
    try:
        return buildah("build", *options, *secrets, *given, "--file", "deploy/docker/Dockerfile", ".")
    finally:
        buildah("rmi", "--prune")


def _pip_settings() -> str:
    # pip reads its settings from several files and from the environment; the build sees one file.
    listed = subprocess.run(["python3", "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    settings = dict(line.split("=", 1) for line in listed.stdout.splitlines())
    lines = {name.partition(".")[2]: value.strip("'") for name, value in settings.items()}
    lines.pop("find-links", None)
    if "cert" in lines:
        lines["cert"] = "/run/secrets/ca.pem"
    return "".join(["[global]\n", *(f"{name} = {value}\n" for name, value in lines.items())])


def inspect(image: str) -> dict[str, Any]:
    """Return what `docker inspect` shows of an image."""
    done = run_podman("image", "inspect", image)
    assert done.returncode == 0, done.stderr
    shown: list[dict[str, Any]] = json.loads(done.stdout)
    return shown[0]


@contextmanager
def files_of(image: str) -> Iterator[Path]:
    """Give the folder where a new container of the image has its files."""
    name = buildah("from", "--pull-never", "--name", f"files-{uuid.uuid4().hex}", image).strip()
    try:
        yield Path(buildah("mount", name).strip())
    finally:
        buildah("rm", name)


class Container:
    """A container that runs: its process on this machine, and what it has printed."""

    def __init__(self, name: str, child: Child, log: Path) -> None:
        self.name = name
        self.child = child
        self._log = log

    @property
    def logs(self) -> list[dict[str, Any]]:
        """Return the lines of its log so far."""
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]

    @property
    def pid(self) -> int:
        """The process id of its first process, on this machine."""
        return int(run_podman("inspect", "--format", "{{.State.Pid}}", self.name).stdout)

    def wait_for(self, event: str) -> None:
        """Wait for a line of its log."""

        def there() -> bool:
            assert self.child.running, f"the container ended\n{self._log.read_text()[-4000:]}"
            return any(line["event"] == event for line in self.logs)

        wait_until(there, 30, event)

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run one more command in the container."""
        return run_podman("exec", self.name, *command)


@contextmanager
def container(
    log: Path, *, options: Sequence[str] = (), command: Sequence[str] = (), files: Mapping[Path, str]
) -> Iterator[Container]:
    """Run the image with a root that is read-only, no capability, and `files` at their places in it."""
    name = f"bridge-{uuid.uuid4().hex[:12]}"
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    # podman would raise both bounds, which this machine may refuse.
    bounds = [f"--ulimit=nofile={most}:{most}", "--ulimit=nproc=1000:1000", "--cgroups=disabled"]
    strict = ["--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"]
    mounts = [f"--volume={source}:{target}:ro" for source, target in files.items()]
    shown = podman(
        *("run", "--rm", "--name", name, "--network=host", *bounds, *strict, *mounts, *options, IMAGE, *command)
    )
    with log.open("wb") as output:
        child = Child(shown, env=os.environ, stdout=output)
    try:
        yield Container(name, child, log)
    finally:
        run_podman("rm", "--force", "--ignore", "--time=0", name)
        child.kill()
