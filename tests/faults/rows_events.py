"""Rows whose victim is a Redis that only brings events, or every source's connection at once."""

from __future__ import annotations

from typing import Final

from tests.faults.rows import Says, row
from tests.faults.stage import Stage
from tests.support.brokers import Redis

_SOURCES: Final = ("pubsub", "stream-elsewhere")
_ENDED: Final = tuple(Says("source.disconnected", source) for source in _SOURCES)


@row("events-kill", sources=_SOURCES, says=_ENDED)
def kill(stage: Stage) -> None:
    """The Redis that brings the events is killed (kill -9) and started again from its append-only file."""
    stage.events.kill()
    stage.wait(0.5, 1.5, 10)
    stage.events.start()


@row("events-pause", sources=_SOURCES)
def pause(stage: Stage) -> None:
    """The Redis that brings the events is stopped by SIGSTOP for a while."""
    stage.events.pause()
    stage.wait(2, 3, 8)
    stage.events.resume()


@row("events-half-open", sources=_SOURCES, says=_ENDED, recovery_s=35.0, stage={"through": ("events",)}, only_long=True)
def half_open(stage: Stage) -> None:
    """The connections go silent without an end; new ones would work."""
    stage.proxies["events"].freeze()


@row(
    "stream-group-lost",
    sources=("stream", "stream-elsewhere"),
    says=tuple(
        Says("source.group_made_again", source, fields=("stream", "after")) for source in ("stream", "stream-elsewhere")
    ),
)
def group_lost(stage: Stage) -> None:
    """The consumer groups are destroyed three times under load."""
    for _ in range(3):
        stage.wait(0.5, 1.5)
        for feed in stage.feeds.values():
            assert isinstance(feed.broker, Redis)
            with feed.broker.client() as client:
                client.xgroup_destroy(feed.name, "bridge")


@row(
    "sources-reset",
    sources=("amqp", "mqtt", "mqtt-qos0", *_SOURCES),
    says=(Says("source.disconnected", "amqp"), Says("source.disconnected", "mqtt"), *_ENDED),
    again=3,
    stage={"through": ("rabbitmq", "mosquitto", "events")},
)
def reset(stage: Stage) -> None:
    """Every connection to a source is reset (RST) at once, three times."""
    for _ in range(3):
        stage.wait(0.5, 1.5)
        for proxy in stage.proxies.values():
            proxy.reset()


@row(
    "sources-refuse",
    sources=("amqp", "mqtt", "mqtt-qos0", *_SOURCES),
    says=(Says("source.unavailable", "amqp"), Says("source.unavailable", "mqtt"), *_ENDED),
    again=1,
    stage={"through": ("rabbitmq", "mosquitto", "events")},
)
def refuse(stage: Stage) -> None:
    """Every connection to a source is reset and new ones are refused for some seconds."""
    for proxy in stage.proxies.values():
        proxy.refuse()
        proxy.reset()
    stage.wait(3, 4, 30)
    for proxy in stage.proxies.values():
        proxy.listen()
