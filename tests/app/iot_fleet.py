"""The application of config/examples/iot-fleet.yaml."""

from __future__ import annotations

from typing import Any, Literal

import dramatiq
from dramatiq.brokers.stub import StubBroker

from tests.app.calls import called

broker = StubBroker()


@dramatiq.actor(broker=broker, queue_name="telemetry")
def store_telemetry(device: str, reading: dict[str, Any]) -> None:
    """Store a reading."""
    called("store_telemetry", device, reading)


@dramatiq.actor(broker=broker, queue_name="alarms", max_retries=5)
def raise_alarm(*, device: str, celsius: float, severity: Literal["low", "high"] = "low") -> None:
    """Wake somebody up."""
    called("raise_alarm", device=device, celsius=celsius, severity=severity)


@dramatiq.actor(broker=broker)
def check_device(device: str) -> None:
    """Look whether a device has come back."""
    called("check_device", device)
