"""The application of config/examples/smart-home.yaml."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.stub import StubBroker

from tests.app.calls import called

broker = StubBroker()


@dramatiq.actor(broker=broker, queue_name="readings")
def store_climate(device: str, celsius: float, humidity: float | None) -> None:
    """Store a reading of zigbee2mqtt."""
    called("store_climate", device, celsius, humidity)


@dramatiq.actor(broker=broker, queue_name="readings")
def store_temperature(sensor: str, celsius: float, at: int) -> None:
    """Store a reading of Tasmota."""
    called("store_temperature", sensor, celsius, at)


@dramatiq.actor(broker=broker)
def register_device(address: str, name: str, model: str) -> None:
    """Know a device by its address."""
    called("register_device", address, name, model)


@dramatiq.actor(broker=broker)
def look_after(device: str) -> None:
    """See whether a device is still away."""
    called("look_after", device)


@dramatiq.actor(broker=broker)
def note_switch(device: str, on: bool) -> None:
    """Note the state of a switch."""
    called("note_switch", device, on)


@dramatiq.actor(broker=broker)
def note_state(entity: str, state: str) -> None:
    """Note the state of an entity of Home Assistant."""
    called("note_state", entity, state)


@dramatiq.actor(broker=broker)
def forget_entity(entity: str) -> None:
    """Forget an entity."""
    called("forget_entity", entity)
