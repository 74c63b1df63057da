"""Java brokers: the jars that a pom.xml names, by Maven, and one class with a `main` beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.interop import builds

_COPY: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


def build(name: str, cache: Path) -> Path:
    """Return the folder of a broker's jars and classes, which are fetched and compiled where there are none."""

    def make(folder: Path) -> None:
        repository = f"-Dmaven.repo.local={cache / 'maven'}"
        # -C: a file whose checksum is not the repository's is refused.
        fetch = [
            "mvn",
            "--batch-mode",
            "--quiet",
            "-C",
            repository,
            "-DincludeScope=runtime",
            "-DoutputDirectory=jars",
            _COPY,
        ]
        builds.run(folder, *fetch)
        if sources := [path.name for path in folder.glob("*.java")]:
            builds.run(folder, "javac", "-cp", "jars/*", "-d", "classes", *sources)

    return builds.build(builds.SOURCES / "java" / name, cache, make)


def command(built: Path, main: str, arguments: Sequence[str], options: Sequence[str] = ()) -> list[str]:
    """Return the command that runs the class `main` with at most 700 MB of heap; `options` are those of Java."""
    java = ["java", "-Xmx700m", *options, "-cp", f"{built}/classes:{built}/jars/*", main, *arguments]
    return builds.command(java)
