"""A Debian machine that systemd has booted, in a container: it shares this machine's network, and its files end with it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING, Final, Self

import psutil

from tests.support.children import REPOSITORY, Child, patient, wait_until

if TYPE_CHECKING:
    from types import TracebackType

#: The packages of a root: a server's Debian, as far as a service can see, and Python.
PACKAGES: Final = ("systemd-sysv", "dbus", "procps", "python3-venv")
# All that the machine writes is in memory, and the mounts and processes are of these namespaces alone: nothing stays behind,
# however the tests end. (Without a namespace the first process outlives a systemd-nspawn that is killed: observed.)
_BOOT: Final = """
set -e
mount -t tmpfs -o mode=0755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
shift
exec systemd-nspawn --quiet --register=no --keep-unit --console=pipe --directory=/mnt/root "$@" --boot
"""
#: The settings by which pip finds its packages here, but for folders of this machine; `.ci/root` has copied files.
_SETTINGS: Final = re.compile(
    r"PIP_(?!FIND_LINKS)[A-Z_]+|[A-Z]+_PROXY|SSL_CERT_(?:FILE|DIR)|(?:REQUESTS|CURL)_CA_BUNDLE", re.IGNORECASE
)


def make_root(suite: str, folder: Path) -> Path:
    """Return the root of this Debian release in `folder`, made there unless it was before."""
    root = folder / suite
    subprocess.run([REPOSITORY / ".ci" / "root", suite, root, *PACKAGES], check=True, stdout=sys.stderr)
    return root


class Machine:
    """A booted machine; use it as a context manager, which always ends it. `binds` are folders of this one, by their paths in it."""

    def __init__(self, root: Path, log: Path, binds: dict[str, Path] | None = None) -> None:
        options = [f"--bind={here}:{there}" for there, here in (binds or {}).items()]
        options.append(f"--machine=bridge-{uuid.uuid4().hex[:8]}")  # several may run at a time
        namespaces = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        self._command = ["unshare", *namespaces, "sh", "-c", _BOOT, "boot", str(root), *options]
        self._log = log
        self._settings = {name: value for name, value in os.environ.items() if _SETTINGS.fullmatch(name)}
        self._child: Child | None = None
        self._init = 0

    def __enter__(self) -> Self:
        try:
            return self._boot()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End it, as a power cut would."""
        if self._child is not None:
            self._child.kill()
            self._child = None
            wait_until(lambda: not psutil.pid_exists(self._init), 10, "the end of the machine")

    def run(self, command: str, *, given: str = "", timeout: float = 120.0) -> CompletedProcess[str]:
        """Run a command of root's shell there, and return it with its exit code and output; it reads `given`."""
        environment = {
            "HOME": "/root",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
        }
        namespaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd")
        return subprocess.run(
            ["nsenter", "--target", str(self._init), *namespaces, "--", "sh", "-c", command],
            env={**self._settings, **environment},
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=patient(timeout),
            check=False,
        )

    def do(self, command: str, *, given: str = "", timeout: float = 120.0) -> str:
        """Run a command that must succeed, and return its output."""
        done = self.run(command, given=given, timeout=timeout)
        assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def write(self, path: str, text: str, mode: str = "644") -> None:
        """Write a file of root's, in one step."""
        path = shlex.quote(path)
        self.do(f"install -D -m {mode} /dev/stdin {path}.new && mv {path}.new {path}", given=text)

    def _boot(self) -> Self:
        with self._log.open("wb") as log:
            child = self._child = Child(self._command, env=os.environ, stdout=log)
        wait_until(lambda: self._booting(child), 60, "the first process of the machine")
        wait_until(lambda: self._state() in {"running", "degraded"}, 60, "the end of the boot")
        assert self._state() == "running", self.do("systemctl --failed --no-pager")
        return self

    def _booting(self, child: Child) -> bool:
        assert child.running, f"the container has ended\n{self._log.read_text(errors='replace')}"
        processes = psutil.Process(child.pid).children(recursive=True)
        # A process may end while it is looked at.
        with suppress(psutil.NoSuchProcess):
            self._init = next((each.pid for each in processes if each.name() == "systemd"), 0)
        return self._init != 0

    def _state(self) -> str:
        return self.run("systemctl is-system-running").stdout.strip()
