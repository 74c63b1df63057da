"""The client libraries of each language, fetched by its own package manager into PUBLISH_DIR, once for each version of its files."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.docs.publish.recipes import FOLDER, PROTOCOLS, Recipe, source
from tests.interop.builds import build

CACHE: Final = Path(os.environ.get("PUBLISH_DIR") or "/var/tmp/dramatiq-bridge-publish")
#: Debian's packages, for a machine that does not reach Composer's. It has none for MQTT.
_DEBIAN: Final = {
    "amqp": Path("/usr/share/php/PhpAmqpLib/autoload.php"),
    "redis_stream": Path("/usr/share/php/Predis/autoload.php"),
}


class MissingError(Exception):
    """The tools or the libraries of a recipe, and why they are not here."""


def prepare(language: str, protocol: str) -> Recipe:
    """Return a recipe that can be run; MissingError says why it cannot."""
    return {"Go": _go, "JavaScript": _javascript, "PHP": _php, "C#": _csharp}[language](protocol)


def _go(protocol: str) -> Recipe:
    folder = _built("go", (("go", "build", "-buildvcs=false", "-o", "bin/", "./..."),))
    return Recipe(protocol, (str(folder / "bin" / protocol),), folder)


def _javascript(protocol: str) -> Recipe:
    folder = _built("javascript", (("npm", "ci", "--no-audit", "--no-fund"),))
    return Recipe(protocol, (_program("node"), f"{protocol}.js"), folder)


def _php(protocol: str) -> Recipe:
    php = _program("php")
    try:
        folder = _built("php", (("composer", "install", "--no-interaction"),))
    except MissingError:
        if protocol not in _DEBIAN or not _DEBIAN[protocol].exists():
            raise
        folder = _with_debians(protocol)
    return Recipe(protocol, (php, f"{protocol}.php"), folder, is_told=protocol != "mqtt")


def _with_debians(protocol: str) -> Path:
    folder = CACHE / "php-of-debian"
    (folder / "vendor").mkdir(parents=True, exist_ok=True)
    (folder / "vendor/autoload.php").write_text(f"<?php require '{_DEBIAN[protocol]}';\n")
    shutil.copy(source("PHP", protocol), folder)
    return folder


def _csharp(protocol: str) -> Recipe:
    folder = _built("csharp", tuple(("dotnet", "build", f"{name}.cs") for name in PROTOCOLS))
    return Recipe(protocol, (_program("dotnet"), "run", "--no-build", f"{protocol}.cs"), folder)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise MissingError(f"{name} is not installed")
    return found


def _built(folder: str, commands: tuple[tuple[str, ...], ...]) -> Path:
    made = _build(folder, commands)
    if isinstance(made, MissingError):
        raise made
    return made


@functools.cache
def _build(folder: str, commands: tuple[tuple[str, ...], ...]) -> Path | MissingError:
    """Return the folder where a language's recipes can be run, or why there is none; it is tried once."""

    def make(made: Path) -> None:
        for program, *arguments in commands:
            log = CACHE / f"{program}.log"
            with log.open("w") as output:
                done = subprocess.run(
                    [_program(program), *arguments], cwd=made, stdout=output, stderr=output, timeout=900, check=False
                )
            if done.returncode:
                raise MissingError(f"`{program} {arguments[0]}` has failed, see {log}")

    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        return build(FOLDER / folder, CACHE, make)
    except MissingError as error:
        return error
