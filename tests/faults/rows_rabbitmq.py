"""Rows whose victim is RabbitMQ, or what lies between it and the bridge."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.faults.rows import Says, row
from tests.faults.stage import Stage
from tests.support.children import wait_until

_AMQP: Final[dict[str, Any]] = {
    "sources": ("amqp", "amqp-stream"),
    "says": (Says("source.disconnected", "amqp"), Says("source.disconnected", "amqp-stream")),
    "recovery_s": 15.0,
    "again": 1,
}


_SOON_NOTICED: Final = {name: {"heartbeat": "1s"} for name in ("amqp", "amqp-stream")}
#: A queue alone: of a stream there is another fault, or none.
_QUEUE: Final[dict[str, Any]] = {"sources": ("amqp",), "says": (Says("source.disconnected", "amqp"),)}


@row("rabbitmq-restart", unready=("source amqp",), **_AMQP)
def restart(stage: Stage) -> None:
    """RabbitMQ is stopped and started again."""
    stage.rabbitmq.stop()
    stage.wait(0, 0.5, 10)
    stage.rabbitmq.start()


@row("rabbitmq-kill", unready=("source amqp",), **_AMQP)
def kill(stage: Stage) -> None:
    """RabbitMQ is killed (kill -9) and started again."""
    stage.rabbitmq.kill()
    stage.wait(0, 0.5, 10)
    stage.rabbitmq.start()


@row("rabbitmq-outage", unready=("source amqp",), only_long=True, **_AMQP)
def outage(stage: Stage) -> None:
    """RabbitMQ is away for 90 s."""
    stage.rabbitmq.stop()
    time.sleep(90)
    stage.rabbitmq.start()


@row("rabbitmq-connections-closed", **_AMQP | {"again": 3})
def connections_closed(stage: Stage) -> None:
    """RabbitMQ closes all connections (rabbitmqctl close_all_connections), three times."""
    seen: set[str] = set()

    def consumed_again() -> bool:
        nonlocal seen
        # RabbitMQ lists no consumers of a stream, but the channels that have one.
        lines = stage.rabbitmq.ctl("list_channels", "--silent", "pid", "consumer_count").splitlines()
        before, seen = seen, {pid for pid, _, count in (line.partition("\t") for line in lines) if count == "1"}
        return len(seen) == len(stage.feeds) and not seen & before

    assert consumed_again()
    for _ in range(3):
        stage.rabbitmq.ctl("close_all_connections", "maintenance")
        # The bridge says such losses once a minute; the broker tells when it is back.
        wait_until(consumed_again, 30, "the consumer")


@row(
    "rabbitmq-queue-deleted",
    own_loss="a deleted queue's messages are gone",
    losers=("amqp",),
    **_AMQP | _QUEUE,
)
def queue_deleted(stage: Stage) -> None:
    """The queue is deleted and, a second later, declared again."""
    stage.rabbitmq.ctl("delete_queue", stage.feeds["amqp"].name)
    stage.wait(0.5, 1.5)
    stage.feeds["amqp"].prepare()


@row("rabbitmq-pause", **_AMQP, stage={"per_source": _SOON_NOTICED})
def pause(stage: Stage) -> None:
    """RabbitMQ is stopped by SIGSTOP for longer than its heartbeat (1 s) allows, so that the link is half-open."""
    stage.rabbitmq.pause()
    try:
        stage.bridge.wait_for("source.disconnected", timeout=10, source="amqp")
    finally:
        stage.rabbitmq.resume()


@row(
    "rabbitmq-half-open",
    **_AMQP,
    stage={"through": ("rabbitmq",), "per_source": _SOON_NOTICED},
)
def half_open(stage: Stage) -> None:
    """The connection goes silent without an end (heartbeat 1 s); a new one would work."""
    stage.proxies["rabbitmq"].freeze()


@row("rabbitmq-alarm", **_AMQP | {"says": (), "again": 0})
def alarm(stage: Stage) -> None:
    """RabbitMQ's memory alarm blocks all publishers; what is in the queue flows, and afterwards the rest."""
    stage.rabbitmq.ctl("set_vm_memory_high_watermark", "0.00001")
    try:
        stage.wait(1, 2, 20)
    finally:
        stage.rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")


@contextmanager
def _short_consumer_timeout(stage: Stage, source: str) -> Iterator[None]:
    """Let RabbitMQ close channels whose deliveries are unsettled for 2 s; it reads the setting for new channels only."""
    stage.rabbitmq.ctl("eval", "application:set_env(rabbit, consumer_timeout, 2000).")
    stage.rabbitmq.ctl("eval", "application:set_env(rabbit, channel_tick_interval, 500).")
    stage.rabbitmq.ctl("close_all_connections", "new settings")
    stage.bridge.wait_for("source.connected", source=source, times=2)
    try:
        yield
    finally:
        stage.rabbitmq.ctl("eval", "application:set_env(rabbit, consumer_timeout, 1800000).")
        stage.rabbitmq.ctl("eval", "application:set_env(rabbit, channel_tick_interval, 60000).")


@row("rabbitmq-consumer-timeout", **_AMQP | _QUEUE | {"again": 2})
def consumer_timeout(stage: Stage) -> None:
    """Redis is away for longer than RabbitMQ waits for an acknowledgement (2 s), and the channel is closed."""
    with _short_consumer_timeout(stage, "amqp"):
        stage.sink.kill()
        stage.wait(5, 6, 30)
        stage.sink.start()
        stage.bridge.wait_for("source.connected", source="amqp", times=3)
    # Connections of the old kind, for the rows that follow.
    stage.rabbitmq.ctl("close_all_connections", "old settings")


@row(
    "rabbitmq-consumer-timeout-quorum",
    sources=("amqp-quorum",),
    says=(Says("source.disconnected", "amqp-quorum"),),
    recovery_s=None,
    stage={"rate": 0},
)
def consumer_timeout_quorum(stage: Stage) -> None:
    """Redis is away for longer than RabbitMQ waits for acknowledgements (2 s); 4.3 cancels a quorum queue's consumer, others the channel."""
    with _short_consumer_timeout(stage, "amqp-quorum"):
        stage.sink.kill()
        stage.loads["amqp-quorum"].burst(150)
        stage.wait(5, 6, 30)
        stage.sink.start()
        stage.bridge.wait_for("source.connected", source="amqp-quorum", times=3)
    stage.rabbitmq.ctl("close_all_connections", "old settings")


@row(
    "rabbitmq-delivery-limit",
    sources=("amqp-quorum",),
    says=(Says("sink.unavailable"),),
    recovery_s=None,
    again=1,
    stage={"rate": 0},
)
def delivery_limit(stage: Stage) -> None:
    """In an outage of Redis all connections are closed six times; the quorum queue drops what it delivers a fourth time."""
    stage.sink.kill()
    try:
        stage.loads["amqp-quorum"].burst(150)
        stage.bridge.wait_for("sink.unavailable")
        for _ in range(6):
            stage.rabbitmq.ctl("close_all_connections", "maintenance")
            time.sleep(1)
    finally:
        stage.sink.start()


@row(
    "rabbitmq-delivery-limit-sink-paused",
    sources=("amqp-quorum",),
    says=(Says("source.waiting", "amqp-quorum", fields=("cause",)),),
    again=1,
)
def delivery_limit_sink_paused(stage: Stage) -> None:
    """Redis answers and takes no writes; the bridge is killed (kill -9) and started again more often than a quorum queue delivers."""
    with stage.client() as client:
        client.client_pause(600_000, all=False)
        for _ in range(5):
            stage.wait(0.7, 1.0)
            stage.bridge.kill()
            stage.restart(stage.bridge)
        stage.bridge.wait_for("source.waiting")
        client.client_unpause()
    stage.bridge.ready()
