"""miniredis, a Redis in the memory of a Go program."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from tests.interop import builds, golang
from tests.interop.broker import InteropBroker
from tests.support.brokers import Redis


class Miniredis(InteropBroker, Redis):
    """miniredis 2.40; whatever it holds ends with it."""

    name = "miniredis-2.40.0"
    program = "miniredis"
    scheme = "redis"
    protocols = frozenset({"redis"})
    #: The folder of its program.
    built: ClassVar[Path]

    @classmethod
    def prepare(cls, cache: Path) -> None:
        """See InteropBroker."""
        cls.built = golang.build(cache)

    def _command(self) -> list[str]:
        return builds.command([f"{self.built}/miniredis", f"127.0.0.1:{self.port}"])


BROKERS = (Miniredis,)
