"""Go brokers: the programs of one module, whose go.mod and go.sum pin each version and its checksum."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.interop import builds

_PROGRAMS: Final = ("./mochi", "./miniredis", "github.com/nats-io/nats-server/v2")


def build(cache: Path) -> Path:
    """Return the folder of the programs `mochi`, `miniredis` and `nats-server`, which are built where there are none."""

    def make(folder: Path) -> None:
        # Debian's Go, and the versions of go.mod.
        pinned = ["GOTOOLCHAIN=local", "GOFLAGS=-mod=readonly -buildvcs=false"]
        kept = [f"GOPATH={cache / 'go'}", f"GOCACHE={cache / 'go-build'}"]
        builds.run(folder, "env", *pinned, *kept, "go", "build", "-o", "bin/", *_PROGRAMS)

    return builds.build(builds.SOURCES / "go", cache, make) / "bin"
