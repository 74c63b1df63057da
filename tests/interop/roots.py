"""Debian roots, made once by debootstrap in the cache, and programs that run in them.

`.ci/root` makes a root. A program in it is the child process itself: it has a mount namespace of its own, which ends with
it, and no other process stands between it and its parent's signals.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.interop.broker import Unavailable
from tests.support.children import REPOSITORY

#: Everything that is fetched or built.
CACHE: Final = Path(os.environ.get("INTEROP_DIR", "/var/tmp/dramatiq-bridge-interop"))  # noqa: S108 - large, and kept
#: What each root has, by suite: those of Debian 13, unstable and 11.
PACKAGES: Final = {
    "trixie": (
        *("python3", "default-jdk-headless", "maven", "golang-go", "nodejs", "npm"),
        *("redis-server", "valkey-server", "mosquitto", "rabbitmq-server"),
    ),
    "sid": ("rabbitmq-server", "golang-go"),
    "bullseye": ("redis-server",),
}
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


def make(suite: str) -> Path:
    """Return the folder of a root, which is made where there is none; Unavailable with the reason where it cannot be."""
    root = CACHE / "roots" / suite
    root.parent.mkdir(parents=True, exist_ok=True)
    run([str(REPOSITORY / ".ci" / "root"), suite, str(root), *PACKAGES[suite]], REPOSITORY, timeout_s=_MAKING_S)
    return root


def command(root: Path, argv: Sequence[str]) -> list[str]:
    """Return the command that becomes the program `argv` in `root`, in the folder and with the environment of its caller.

    `argv[0]` is found in the root. It sees the machine's processes, devices and temporary files, the cache and the repository.
    """
    return ["unshare", "--mount", "sh", "-c", _ENTER, "sh", str(root), " ".join(_SHARED), *argv]


def run(argv: Sequence[str], folder: Path, *, timeout_s: float = 900.0) -> str:
    """Run a command that fetches or builds in `folder`, and return what it printed; Unavailable with the end of that."""
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from None
    if done.returncode != 0:
        raise Unavailable(" / ".join(done.stdout.strip().splitlines()[-3:]))
    return done.stdout
