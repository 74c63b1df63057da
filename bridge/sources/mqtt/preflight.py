"""Looks at the broker of a source before the start: as another client, and so that no event is taken from anybody.

The client_id is the look's own: that of the source would take the running bridge's session over. The session is clean, and ends
with the connection. A subscription brings copies, which are dropped; one of a shared subscription is in a group of the look's own,
since the broker would give it events of the group's others.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

from bridge.config import Mqtt
from bridge.config.units import spell_duration
from bridge.errors import Disconnected
from bridge.model.findings import Findings, counted
from bridge.sources.mqtt.looking_client import FIRST_FAILURE, Connack, LookingClient
from bridge.sources.mqtt.overlap import OverlapIds
from bridge.sources.mqtt.promise import (
    LOWERED,
    REFUSED,
    REFUSES_ID,
    describe,
    guarantee,
    missing,
    no_subscription_ids,
    shortened,
)

_SHARE: Final = "$share/"
_UNSEEN_ACL: Final = (
    "whether events of these topics come: a broker may grant a subscription and leave events out that the user may not read, without"
    " a word (mosquitto's acl_file does)"
)
_UNSEEN_QUEUE: Final = "how many events the broker keeps for a client that is away (mosquitto's max_queued_messages)"


async def look_at_broker(config: Mqtt, topics: Sequence[str], found: Findings) -> None:
    """Look at the limits of the broker's CONNACK, and whether it grants each of the filters `topics`.

    Raises:
        Disconnected: the broker can't be reached, or refuses the client, or the connection has ended.
    """
    own_id = f"dramatiq-bridge-check-{secrets.token_hex(4)}"
    try:
        await _look(config, topics, own_id, found)
    except Disconnected as error:
        if config.client_id is None or not error.cause.startswith((REFUSED, REFUSES_ID)):
            raise
        if error.cause.startswith(REFUSES_ID):
            # It may permit some ids alone, and that of the source be one of them.
            found.unseen(f"{error.cause}, which is the look's own: that of the source was not tried, nor anything else")
        else:
            text = (
                f"a broker that binds this user to the client_id {config.client_id!r} says so too: another one was used"
            )
            found.problem(error.cause, text, "username")


async def _look(config: Mqtt, topics: Sequence[str], own_id: str, found: Findings) -> None:
    if config.durable and config.version == "5":
        # Without a subscription: should the process be killed, an empty session stays.
        async with LookingClient(config, own_id, session_expiry_s=config.session_expiry // 1000) as client:
            _look_at_session(config, client.connack, found)
    # A client without an id sends none, as the source does.
    async with LookingClient(config, own_id if config.client_id is not None else "") as client:
        found.ok(f"connected: MQTT {config.version}, as another client than the source")
        can_subscribe = _look_at_limits(config, topics, client.connack, found)
        if can_subscribe and topics:
            await _look_at_subscriptions(client, config, topics, own_id, found)
    if config.client_id is not None:
        found.unseen(f"whether the broker permits this with the client_id {config.client_id!r}: another one was used")
    found.unseen(_UNSEEN_ACL)
    if config.durable:
        found.unseen(_UNSEEN_QUEUE)


def _look_at_session(config: Mqtt, connack: Connack, found: Findings) -> None:
    granted_ms = shortened(config.session_expiry, connack.properties)
    if granted_ms is not None:
        asked, kept = spell_duration(config.session_expiry), spell_duration(granted_ms)
        text = f"the broker keeps the session for {kept}, not {asked}: {guarantee(granted_ms)}"
        found.note(text, "raise the broker's limit, or write this session_expiry", "session_expiry")


def _look_at_limits(config: Mqtt, topics: Sequence[str], connack: Connack, found: Findings) -> bool:
    """Look at the limits of the broker; return whether it takes the subscriptions at all."""
    properties = connack.properties
    if cause := missing(topics, properties):
        found.problem(cause, "", "topics")
        return False
    keepalive_s = getattr(properties, "ServerKeepAlive", None)
    if keepalive_s is not None and keepalive_s != config.keepalive // 1000:
        found.ok(f"the broker wants a ping every {keepalive_s} s: it gets one")
    overlapping = OverlapIds(topics).by_filter
    if overlapping and (config.version != "5" or getattr(properties, "SubscriptionIdentifierAvailable", 1) == 0):
        cause = no_subscription_ids(v5=config.version == "5")
        found.note(f"the topics {', '.join(overlapping)} overlap: {cause}", "", "topics")
    return True


async def _look_at_subscriptions(
    client: LookingClient, config: Mqtt, topics: Sequence[str], own_id: str, found: Findings
) -> None:
    reasons = await client.subscribe([_own_group(topic, own_id) for topic in topics])
    lowered: list[str] = []
    granted = 0
    for topic, reason in zip(topics, reasons, strict=True):
        if reason.value >= FIRST_FAILURE:
            place = ("topics", config.topics.index(topic)) if topic in config.topics else ("topics",)
            text = f"the broker refuses the subscription to {topic!r}: {describe(reason, None)}"
            if topic.startswith(_SHARE):
                # It may permit a group by its name.
                found.unseen(f"{text}, in a group of the look's own; that of the file was not tried")
            else:
                found.problem(text, "permit it to this user at the broker", *place)
            continue
        granted += 1
        if reason.value < config.qos:
            lowered.append(topic)
    if granted == len(topics):
        found.ok(f"granted: {counted(granted, 'subscription')}, given up at once")
    if lowered:
        found.note(f"{', '.join(lowered)}: {LOWERED}", "set qos: 0, if that is meant", "qos")


def _own_group(topic: str, own_id: str) -> str:
    """Return a filter, and that of a shared subscription with a group of its own."""
    if not topic.startswith(_SHARE):
        return topic
    group, _, rest = topic.removeprefix(_SHARE).partition("/")
    return f"{_SHARE}{group}-{own_id}/{rest}"
