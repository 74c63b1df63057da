"""Rows in which Dramatiq's Redis answers, and takes no writes: each cause is told, waited out, and nothing comes twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import redis

from tests.faults.rows import Says, row
from tests.faults.stage import Stage
from tests.support.children import free_port, wait_until

Command = Callable[[Stage, redis.Redis], object]


def _refusing(name: str, what: str, cause: str, refuse: Command, mend: Command) -> None:
    """Register a row: `refuse` makes Redis refuse with `cause` in its words, `mend` ends that."""

    def act(stage: Stage) -> None:
        with stage.client() as client:
            refuse(stage, client)
            try:
                stage.bridge.wait_for("sink.unavailable", timeout=10)
                stage.wait(1, 2, 10)
            finally:
                mend(stage, client)

    act.__doc__ = what
    row(name, says=(Says("sink.unavailable", cause=cause),))(act)


def _setting(name: str, value: str, back: str) -> tuple[Command, Command]:
    return (lambda _, client: client.config_set(name, value)), (lambda _, client: client.config_set(name, back))


def _become_replica(stage: Stage, client: redis.Redis) -> None:
    client.replicaof("127.0.0.1", str(free_port()))


def _become_master(stage: Stage, client: redis.Redis) -> None:
    client.config_set("replica-serve-stale-data", "yes")
    client.replicaof("NO", "ONE")


def _become_stale(stage: Stage, client: redis.Redis) -> None:
    client.config_set("replica-serve-stale-data", "no")
    _become_replica(stage, client)


def _fail_to_save(stage: Stage, client: redis.Redis) -> None:
    snapshot = stage.sink.directory / "dump.rdb"
    snapshot.unlink(missing_ok=True)
    snapshot.mkdir()  # no file can take its place
    client.config_set("save", "3600 1")
    client.bgsave()
    info: Callable[[], Any] = lambda: client.info("persistence")  # noqa: E731
    wait_until(lambda: info()["rdb_last_bgsave_status"] == "err", what="the failed save")


def _save_again(stage: Stage, client: redis.Redis) -> None:
    client.config_set("save", "")
    (stage.sink.directory / "dump.rdb").rmdir()
    client.bgsave()


def _spin(stage: Stage, client: redis.Redis) -> None:
    client.config_set("busy-reply-threshold", "50")

    def run() -> None:
        with stage.client(timeout_s=30) as other, suppress(redis.ResponseError):
            other.eval("while true do end", 0)

    threading.Thread(target=run, name="busy", daemon=True).start()


def _kill_script(stage: Stage, client: redis.Redis) -> None:
    client.script_kill()


def _forbid(stage: Stage, client: redis.Redis) -> None:
    client.execute_command("ACL", "SETUSER", "default", "-rpush")


def _allow(stage: Stage, client: redis.Redis) -> None:
    client.execute_command("ACL", "SETUSER", "default", "+rpush")


_MEMORY: Final = _setting("maxmemory", "1mb", "0")
_REPLICAS: Final = _setting("min-replicas-to-write", "1", "0")

_refusing("redis-oom", "Redis is at its maxmemory and evicts nothing.", "maxmemory", *_MEMORY)
_refusing("redis-noreplicas", "Redis misses its replicas (min-replicas-to-write).", "NOREPLICAS", *_REPLICAS)
_refusing("redis-readonly", "Redis is made a replica: READONLY.", "read only", _become_replica, _become_master)
_refusing("redis-masterdown", "Redis is a stale replica: MASTERDOWN.", "MASTERDOWN", _become_stale, _become_master)
_refusing("redis-misconf", "Redis cannot save its snapshots: MISCONF.", "MISCONF", _fail_to_save, _save_again)
_refusing("redis-busy", "Somebody else's script runs and runs: BUSY.", "BUSY", _spin, _kill_script)
_refusing("redis-noperm", "The bridge's user may not RPUSH any more: NOPERM.", "may not run", _forbid, _allow)
