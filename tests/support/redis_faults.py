"""Faults of Redis that the bridge meets, each made on a real running server.

A fault is a context manager that takes the server and yields words of the error; on leaving it, the server works again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import redis

from tests.support.batches import answer
from tests.support.brokers import Redis
from tests.support.children import free_port, wait_until

Fault = Callable[[Redis], AbstractContextManager[str]]


@contextmanager
def readonly(server: Redis) -> Iterator[str]:
    """Make the server a replica whose master does not answer."""
    with server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))
        yield "read only replica"
        client.execute_command("REPLICAOF", "NO", "ONE")


@contextmanager
def out_of_memory(server: Redis) -> Iterator[str]:
    """Set `maxmemory` so low that every write is refused."""
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")  # byte: an empty Redis 8 needs less than 1 MB
        yield "used memory > 'maxmemory'"
        client.config_set("maxmemory", "0")


@contextmanager
def disk_error(server: Redis) -> Iterator[str]:
    """Let its snapshots fail; it then refuses writes."""
    dump = server.directory / "dump.rdb"
    dump.unlink(missing_ok=True)
    dump.mkdir()
    with server.client() as client:
        client.config_set("save", "3600 1")
        client.bgsave()
        wait_until(
            lambda: answer(client.info("persistence"))["rdb_last_bgsave_status"] == "err", what="the failed save"
        )
        yield "MISCONF"
        client.config_set("save", "")
    dump.rmdir()


@contextmanager
def stopped(server: Redis) -> Iterator[str]:
    """Stop the server; afterwards start it again, empty."""
    server.stop()
    yield "connect"
    server.start()


@contextmanager
def silent(server: Redis) -> Iterator[str]:
    """Pause the process: connections are accepted, and get no answer."""
    server.pause()
    yield "timed out"
    server.resume()


@contextmanager
def busy(server: Redis) -> Iterator[str]:
    """Keep the server busy with another client's script."""

    def spin() -> None:
        with server.client() as client, pytest.raises(redis.ResponseError, match=r"killed|BUSY"):
            client.eval("while true do end", 0)

    with server.client() as client:
        client.config_set("busy-reply-threshold", "50")
        thread = threading.Thread(target=spin)
        thread.start()

        def is_busy() -> bool:
            try:
                client.ping()
            except redis.ResponseError as error:
                return "BUSY" in str(error)
            return False

        wait_until(is_busy, what="the busy script")
        yield "BUSY"
        client.script_kill()
        thread.join(30)


@contextmanager
def loading(server: Redis) -> Iterator[str]:
    """Let the server load its data, slowly."""
    with server.client() as client, server.client() as other:
        for number in range(100):
            client.set(f"key-{number}", "x" * 2000)
        client.config_set("key-load-delay", "100000")
        client.config_set("loading-process-events-interval-bytes", "1024")
        client.config_set("rdbcompression", "no")
        other.ping()
        thread = threading.Thread(target=client.execute_command, args=("DEBUG", "RELOAD"))
        thread.start()

        def is_loading() -> bool:
            return bool(answer(other.info("persistence"))["loading"])

        wait_until(is_loading, what="the loading")
        yield "LOADING"
        other.config_set("key-load-delay", "0")
        thread.join(30)


@contextmanager
def master_down(server: Redis) -> Iterator[str]:
    """Make the server a replica that refuses every command while its master does not answer."""
    with server.client() as client:
        client.config_set("replica-serve-stale-data", "no")
        client.config_set("replica-read-only", "no")
        client.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))
        yield "MASTERDOWN"
        client.execute_command("REPLICAOF", "NO", "ONE")


@contextmanager
def no_replicas(server: Redis) -> Iterator[str]:
    """Let the server require a replica that it does not have."""
    with server.client() as client:
        client.config_set("min-replicas-to-write", "1")
        yield "NOREPLICAS"
        client.config_set("min-replicas-to-write", "0")


@contextmanager
def forbidden(server: Redis) -> Iterator[str]:
    """Take the permission to RPUSH from the user."""
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-rpush")
        yield "NOPERM"
        client.execute_command("ACL", "SETUSER", "default", "+rpush")


@contextmanager
def paused(server: Redis) -> Iterator[str]:
    """Let the server answer everything but writes, which it runs afterwards."""
    with server.client() as client:
        client.execute_command("CLIENT", "PAUSE", "600000", "WRITE")
        yield "timed out"
        client.client_unpause()


#: Most of them; `loading` needs a server with `enable-debug-command: local`.
FAULTS: list[Fault] = [
    readonly, out_of_memory, disk_error, stopped, silent, busy, loading, master_down, no_replicas
]  # fmt: skip
