"""Sessions that an MQTT broker keeps for processes of an earlier start with more `processes`."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.config import Dramatiq, Mqtt
from bridge.sources.mqtt.source import MqttSource
from bridge.sources.mqtt.subscription_store import left_members


async def orphaned_sessions(
    name: str, config: Mqtt, filters: Sequence[str], dramatiq: Dramatiq, first: int
) -> dict[str, MqttSource]:
    """Return a source for each session of the processes `first`, `first` + 1 ..., by a name of its own.

    The sessions are recorded in Dramatiq's Redis; it waits until that answers.
    """
    return {
        f"{name} ({orphan.client_id})": MqttSource(name, orphan, filters, dramatiq, left=True)
        for orphan in await left_members(name, config, dramatiq, first)
    }
