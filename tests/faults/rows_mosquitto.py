"""Rows whose victim is mosquitto, or what lies between it and the bridge."""

from __future__ import annotations

from typing import Any, Final

from tests.faults.rows import Says, row
from tests.faults.stage import Stage

_MQTT: Final[dict[str, Any]] = {
    "sources": ("mqtt", "mqtt-qos0"),
    "says": (Says("source.disconnected", "mqtt"), Says("source.disconnected", "mqtt-qos0")),
    "again": 1,
}
_FORGETS: Final = "what mosquitto has acknowledged since it last saved its state is not on its disk"


@row("mosquitto-restart", **_MQTT)
def restart(stage: Stage) -> None:
    """Mosquitto, with persistence, is stopped and started again."""
    stage.mosquitto.stop()
    stage.wait(0.5, 1.5, 10)
    stage.mosquitto.start()


@row("mosquitto-forgetful", own_loss=_FORGETS, losers=("mqtt",), **_MQTT)
def forgetful(stage: Stage) -> None:
    """Mosquitto is restarted and has forgotten everything, as one without persistence."""
    stage.mosquitto.stop()
    (stage.mosquitto.directory / "mosquitto.db").unlink()
    stage.wait(0.5, 1.5, 10)
    stage.mosquitto.start()


@row("mosquitto-kill", unready=("source mqtt",), own_loss=_FORGETS, losers=("mqtt",), **_MQTT)
def kill(stage: Stage) -> None:
    """Mosquitto, with persistence, is killed (kill -9) and started again."""
    stage.mosquitto.kill()
    stage.wait(0.5, 1.5, 10)
    stage.mosquitto.start()


@row("mosquitto-flapping", **_MQTT | {"again": 6, "most_lines": 30})
def flapping(stage: Stage) -> None:
    """Mosquitto is stopped and started again six times, about a second apart."""
    for _ in range(6):
        stage.mosquitto.stop()
        stage.wait(0.1, 0.5)
        stage.mosquitto.start()
        stage.wait(0.3, 1)


_SHORT_KEEPALIVE: Final = {"mqtt": {"keepalive": "2s"}, "mqtt-qos0": {"keepalive": "2s"}}


@row("mosquitto-pause", **_MQTT, stage={"per_source": _SHORT_KEEPALIVE})
def pause(stage: Stage) -> None:
    """Mosquitto is stopped by SIGSTOP for longer than the keepalive (2 s) allows, so that the links are half-open."""
    stage.mosquitto.pause()
    try:
        for source in stage.sources:
            stage.bridge.wait_for("source.disconnected", timeout=10, source=source)
    finally:
        stage.mosquitto.resume()


@row("mosquitto-half-open", **_MQTT, stage={"through": ("mosquitto",), "per_source": _SHORT_KEEPALIVE})
def half_open(stage: Stage) -> None:
    """The connections go silent without an end (keepalive 2 s); new ones would work."""
    stage.proxies["mosquitto"].freeze()


@row("mosquitto-twins", sources=("mqtt",), again=4, stage={"replicas": 2, "twins": True})
def twins(stage: Stage) -> None:
    """Two bridges have the same client_id and take the session from each other, until one is stopped (SIGTERM)."""
    stage.wait(8, 9, 30)
    stage.bridges[1].terminate()
    stage.bridges[1].wait(25)
    del stage.bridges[1]
