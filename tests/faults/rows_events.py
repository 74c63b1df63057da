"""Rows whose victim is a Redis that only brings events, or every source's connection at once."""

from __future__ import annotations

import time
from typing import Final

from tests.faults.rows import Says, row
from tests.faults.stage import Stage
from tests.support.brokers import Redis

_SOURCES: Final = ("pubsub", "stream-elsewhere")
_ENDED: Final = tuple(Says("source.disconnected", source) for source in _SOURCES)


@row("events-kill", unready=("source ",), sources=_SOURCES, says=_ENDED)
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


@row("idle-links", sources=_SOURCES, recovery_s=None, stage={"rate": 0, "through": ("events", "sink")})
def idle_links(stage: Stage) -> None:
    """Proxies before both Redis end connections that are idle for 2 s, and an event comes every 3 s: no line says so."""
    for proxy in stage.proxies.values():
        proxy.idle_s = 2.0
    for _ in range(3 if stage.short else 20):
        for load in stage.loads.values():
            load.burst(1)
        time.sleep(3)
    cuts = sum(proxy.cuts for proxy in stage.proxies.values())
    stage.notes.append(f"{cuts} idle connections were ended")
    if not cuts:
        stage.failures.append("no connection was ended for being idle")
    for bridge in stage.bridges:
        lines = [line for line in list(bridge.logs) if line.get("level") == "error"]
        stage.failures.extend(f"a line of an error: {line}" for line in lines)
