"""Node brokers: the packages of a package-lock.json, which pins each version and its checksum."""

from __future__ import annotations

from pathlib import Path

from tests.interop import builds


def build(name: str, cache: Path) -> Path:
    """Return the folder of a broker's script with its `node_modules`, which are fetched where there are none."""

    def make(folder: Path) -> None:
        builds.run(folder, "npm", "ci", "--no-audit", "--no-fund", f"--cache={cache / 'npm'}")

    return builds.build(builds.SOURCES / "node" / name, cache, make)
