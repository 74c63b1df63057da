"""Orphaned sessions: an earlier start had processes for them, and this one has none. Their records in Redis tell."""

from __future__ import annotations

from bridge.config import MAX_PROCESSES, Dramatiq, Mqtt
from bridge.config.names import process_client_id
from bridge.observe.logs import RepeatedLog
from bridge.sources.mqtt.subscription_store import record_key, redis_answers


async def orphaned_settings(name: str, config: Mqtt, dramatiq: Dramatiq, first: int) -> list[Mqtt]:
    """Return the settings that resume the sessions of processes from number `first` on, none of which runs now.

    The broker keeps sending messages of a shared subscription to these sessions. Resuming one and unsubscribing releases
    its messages (observed with mosquitto; MQTT 5, 3.10.4, only allows the server to go on delivering them). Every start
    repeats this until the session expires, since one start may not receive them all. Waits for Redis.
    """
    if config.client_id is None or not config.keeps_session:
        return []
    # All numbers, not up to the first gap: a process may have ended before its session was recorded.
    ids = [process_client_id(config.client_id, number) for number in range(first, MAX_PROCESSES)]
    commands = (("GET", record_key(name, each, dramatiq)) for each in ids)
    records = await redis_answers(name, dramatiq, RepeatedLog(), *commands)
    return [
        config.model_copy(update={"client_id": each, "version": "5"})
        for each, record in zip(ids, records, strict=True)
        if record is not None
    ]
