"""Rows in which Dramatiq's Redis answers, and takes no writes: each cause is told, waited out, and nothing comes twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import redis

from tests.faults import checker
from tests.faults.rows import Says, row
from tests.faults.slope import Slope
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


_MEMORY: Final = _setting("maxmemory", "1", "0")  # byte: an empty Redis 8 needs less than 1 MB
_REPLICAS: Final = _setting("min-replicas-to-write", "1", "0")

_refusing("redis-oom", "Redis is at its maxmemory and evicts nothing.", "maxmemory", *_MEMORY)
_refusing("redis-noreplicas", "Redis misses its replicas (min-replicas-to-write).", "NOREPLICAS", *_REPLICAS)
_refusing("redis-readonly", "Redis is made a replica: READONLY.", "read only", _become_replica, _become_master)
_refusing("redis-masterdown", "Redis is a stale replica: MASTERDOWN.", "MASTERDOWN", _become_stale, _become_master)
_refusing("redis-misconf", "Redis cannot save its snapshots: MISCONF.", "MISCONF", _fail_to_save, _save_again)
_refusing("redis-busy", "Somebody else's script runs and runs: BUSY.", "BUSY", _spin, _kill_script)
_refusing("redis-noperm", "The bridge's user may not RPUSH any more: NOPERM.", "may not run", _forbid, _allow)


def _pause(stage: Stage, client: redis.Redis) -> None:
    client.execute_command("CLIENT", "PAUSE", "600000", "WRITE")


def _unpause(stage: Stage, client: redis.Redis) -> None:
    client.client_unpause()


#: What follows one another below; each begins before the one before it ends, so that nothing is written in between.
_IN_TURN: Final[dict[str, tuple[Command, Command]]] = {
    "OOM": _MEMORY,
    "NOREPLICAS": _REPLICAS,
    "READONLY": (_become_replica, _become_master),
    "MISCONF": (_fail_to_save, _save_again),
    "NOPERM": (_forbid, _allow),
    "time-outs": (_pause, _unpause),
}
_HOLD_S: Final = 5.0
#: Events of 32 KiB each that wait in the broker: two windows.
_BACKLOG: Final = 2000
#: Growth of the resident memory that is none yet.
_MAX_MIB_PER_MINUTE: Final = 1.0


@row(
    "redis-refusals-memory",
    sources=("stream-elsewhere",),
    says=(Says("sink.unavailable", cause="NOREPLICAS"), Says("sink.unavailable", cause="timed out")),
    stage={
        "rate": 20,
        "through": ("sink",),
        "window": (1000, 32 << 20),
        "body_bytes": 32 << 10,
        "settings": {"dramatiq": {"timeout": "1s", "connect_timeout": "1s"}},
    },
)
def refusals_memory(stage: Stage) -> None:
    """Redis refuses in every way in turn, again and again, with a window full of large bodies: memory does not grow."""
    rounds = max(2, round((stage.seconds or 0) / (_HOLD_S * len(_IN_TURN))))
    slope = Slope(stage.bridge.rss_bytes)
    rates = {load: load.rate for load in stage.loads.values()}
    with stage.client() as client:
        refuse, mend = _REPLICAS
        refuse(stage, client)
        try:
            for load in rates:
                load.rate = 0
                load.burst(_BACKLOG)
            _let_some_through(stage, client)
            for number in range(1 + rounds):  # the first one only warms up
                for kind, (next_refuse, next_mend) in _IN_TURN.items():
                    next_refuse(stage, client)
                    if next_mend is not mend:
                        mend(stage, client)
                    mend = next_mend
                    slope.sample(kind, number, _HOLD_S)
        finally:
            mend(stage, client)
            for load, rate in rates.items():
                load.rate = rate
    grown = slope.mib_per_minute(since=1)
    stage.notes.append(f"resident memory {grown:+.2f} MiB a minute; in MiB by round: {slope.summary()}")
    if grown > _MAX_MIB_PER_MINUTE:
        stage.failures.append(f"memory grows by {grown:.1f} MiB a minute")


def _let_some_through(stage: Stage, client: redis.Redis) -> None:
    """Refuse all but some of the backlog: the small batches of the beginning are written, and one of 4 MiB is refused."""
    refuse, mend = _REPLICAS
    stage.proxies["sink"].latency_s = 0.3  # events gather while a batch waits for its reply
    mend(stage, client)
    wait_until(lambda: min(checker.lengths(client, stage.sources).values()) > 100, 20, "a large batch")
    refuse(stage, client)
    stage.proxies["sink"].latency_s = 0
