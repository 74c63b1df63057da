"""Debian roots, made once by debootstrap in the cache, and programs that run in them.

`.ci/root` makes a root. A program in it is the child process itself: it has a mount namespace of its own, which ends with
it, and no other process stands between it and its parent's signals. A machine that is of the suite itself needs no root.
"""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from signal import SIGKILL
from typing import ClassVar, Final

from tests.interop.broker import InteropBroker, Unavailable
from tests.support.children import REPOSITORY

#: Everything that is fetched or built.
CACHE: Final = Path(os.environ.get("INTEROP_DIR", "/var/tmp/dramatiq-bridge-interop"))
#: The packages of each root, by suite: Debian 11, 12, 13 and unstable.
PACKAGES: Final = {
    "bullseye": ("redis-server",),
    "bookworm": ("redis-server", "mosquitto", "rabbitmq-server"),
    "trixie": (
        *("python3", "default-jdk-headless", "maven", "golang-go", "nodejs", "npm"),
        *("redis-server", "valkey-server", "mosquitto", "rabbitmq-server"),
    ),
    "sid": ("rabbitmq-server",),
}
_MACHINE: Final = Path("/")
#: A program in a root sees these of the machine, at the same places.
_SHARED: Final = ("/proc", "/sys", "/dev", tempfile.gettempdir(), str(CACHE), str(REPOSITORY))
_ENTER: Final = """
set -e
root=$1 shared=$2
shift 2
for folder in $shared; do
    mkdir -p "$root$folder"
    mount --rbind "$folder" "$root$folder"
done
exec chroot "$root" env --chdir="$PWD" "$@"
"""
_MAKING_S: Final = 1800.0


class InRoot(InteropBroker):
    """A broker of Debian's own packages, of the suite that has its version."""

    suite: ClassVar[str]
    package: ClassVar[str]
    #: Where its programs are; as PATH has it, `rabbitmq-server` changes to another user.
    folder: ClassVar[str] = "/usr/bin"

    @classmethod
    def prepare(cls, cache: Path) -> None:
        """See InteropBroker."""
        program = make(cls.suite, cache) / cls.folder.lstrip("/") / cls.program
        if not os.path.lexists(program):  # a link in a root may lead to the root
            raise Unavailable(f"{program} is not there")

    @classmethod
    def version(cls) -> str:
        """See InteropBroker."""
        show = ["dpkg-query", "--show", "--showformat", "${Version}", cls.package]
        return run(command(make(cls.suite), show), REPOSITORY)

    def _find(self, name: str) -> str:
        return f"{self.folder}/{name}" if name == self.program else name

    def _entered(self, argv: list[str]) -> list[str]:
        return command(make(self.suite), argv)


def make(suite: str, cache: Path = CACHE) -> Path:
    """Return the folder of a root in `cache`, which is made where there is none; Unavailable with the reason where it cannot be.

    It is tried once: the suite's next broker gets the same answer.
    """
    made = _made(suite, cache)
    if isinstance(made, str):
        raise Unavailable(made)
    return made


@functools.cache
def _made(suite: str, cache: Path) -> Path | str:
    try:
        return _make(suite, cache)
    except (OSError, Unavailable) as error:
        return f"Debian {suite}: {error}"


def _make(suite: str, cache: Path) -> Path:
    if platform.freedesktop_os_release().get("VERSION_CODENAME") == suite and are_installed(PACKAGES[suite]):
        return _MACHINE
    root = cache / "roots" / suite
    root.parent.mkdir(parents=True, exist_ok=True)
    run([str(REPOSITORY / ".ci" / "root"), suite, str(root), *PACKAGES[suite]], REPOSITORY, timeout_s=_MAKING_S)
    return root


def are_installed(packages: Sequence[str]) -> bool:
    """Whether this machine has all of these packages of Debian."""
    show = ["dpkg-query", "--show", "--showformat", "${db:Status-Status}\n", *packages]
    found = subprocess.run(show, capture_output=True, text=True, check=False)
    return found.returncode == 0 and found.stdout.split() == ["installed"] * len(packages)


def command(root: Path, argv: Sequence[str]) -> list[str]:
    """Return the command that becomes the program `argv` in `root`, in the folder and with the environment of its caller.

    `argv[0]` is found in the root. It sees the machine's processes, devices and temporary files, the cache and the repository.
    """
    if root == _MACHINE:
        return list(argv)
    return ["unshare", "--mount", "sh", "-c", _ENTER, "sh", str(root), " ".join(_SHARED), *argv]


def run(argv: Sequence[str], folder: Path, *, timeout_s: float = 900.0) -> str:
    """Run a command that fetches or builds in `folder`, and return what it printed; Unavailable with the end of that."""
    try:
        # A session of its own: its time-out ends its children too.
        child = subprocess.Popen(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(str(error)) from None
    with child:
        try:
            printed, _ = child.communicate(timeout=timeout_s)
        except BaseException as error:
            os.killpg(child.pid, SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise Unavailable(f"{argv[0]} did not end within {timeout_s:g} s") from None
            raise
    if child.returncode != 0:
        raise Unavailable(" / ".join(printed.strip().splitlines()[-3:]))
    return printed
