"""The publish recipes of docs/publish: each is run as its file stands, with the address of a broker in its environment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.children import REPOSITORY

FOLDER: Final = REPOSITORY / "docs/publish"
#: Each language's heading on the page, its folder, and how a recipe's file is called there.
LANGUAGES: Final = {
    "Python": ("python", "{}.py"),
    "Go": ("go", "{}/main.go"),
    "JavaScript": ("javascript", "{}.js"),
    "PHP": ("php", "{}.php"),
    "C#": ("csharp", "{}.cs"),
}
#: The name of a recipe, and the variable with its broker's address.
PROTOCOLS: Final = {"amqp": "AMQP_URL", "mqtt": "MQTT_URL", "redis_stream": "REDIS_URL"}
#: As the page shows them.
MESSAGE_ID: Final = "order-4711"
EVENT: Final = {"id": "order-4711", "total": 129}


def source(language: str, protocol: str) -> Path:
    """Return the file of a recipe."""
    folder, name = LANGUAGES[language]
    return FOLDER / folder / name.format(protocol)


@dataclass(frozen=True)
class Recipe:
    """A recipe that can be run here."""

    protocol: str
    command: tuple[str, ...]
    cwd: Path
    #: Whether its protocol tells it that nobody gets the event, or that the broker refuses it: MQTT 3.1.1 tells neither.
    is_told: bool = True

    def run(self, url: str, environ: Mapping[str, str] = os.environ) -> tuple[int, str]:
        """Return its exit code, and its output."""
        done = subprocess.run(
            self.command,
            cwd=self.cwd,
            env={**environ, PROTOCOLS[self.protocol]: url},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def publish(self, url: str) -> None:
        """Run it, and see that it succeeds and says nothing."""
        assert self.run(url) == (0, "")

    def is_refused(self, url: str) -> str:
        """Run it, see that it fails, and return its words."""
        code, said = self.run(url)
        assert code != 0
        return said
