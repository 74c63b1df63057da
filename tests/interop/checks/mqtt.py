"""What MQTT brokers do differently: their limits, wildcards, shared subscriptions, retained messages."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.faults import checker
from tests.faults.ledger import body
from tests.faults.stage import Stage
from tests.interop.outcome import HELD, Outcome, Outcomes
from tests.interop.trial import Trial, each
from tests.support.children import wait_until
from tests.support.feeds import connect
from tests.support.processes import queue_messages

_WEEK_S: Final = 7 * 86_400
_FILTERS: Final = ("plain", "one/+/level", "rest/#", "+/+/+/four", "empty//level", "ünï/cöde/+")
_TOPICS: Final = (
    *("plain", "one/a/level", "one//level", "one/a/b/level", "rest", "rest/a", "rest/a/b/c", "1/2/3/four"),
    *("1/2/3/4/four", "empty//level", "empty/level", "ünï/cöde/ö", "Plain", "other"),
)
_QUIET_S: Final = 1.0


def limits(trial: Trial) -> Outcomes:
    """The limits in the broker's CONNACK, as a plain client is told them, are those that the bridge speaks of."""
    outcomes = {}
    for source in trial.sources():
        if not source.startswith("mqtt-5"):
            continue  # MQTT 3.1.1 announces nothing
        with Stage(trial.brokers, (source,), short=True, rate=0) as stage:
            announced = _connack(stage)
            trial.note("announces " + (", ".join(f"{key} {value}" for key, value in announced.items()) or "no limits"))
            outcomes[source] = _compare(stage, announced)
    return outcomes


def wildcards(trial: Trial) -> Outcomes:
    """Filters with wildcards bring the same events as a plain client gets, each once."""
    root = f"wild-{uuid.uuid4().hex[:8]}"
    filters = [f"{root}/{one}" for one in _FILTERS]
    sources = trial.sources()
    # A list for each: YAML would make aliases of one.
    settings = {source: {"topics": list(filters)} for source in sources}
    with Stage(trial.brokers, sources, short=True, rate=0, per_source=settings) as stage:
        plain: Counter[int] = Counter()
        with _Plain(stage, filters) as client:
            client.on_message = lambda _client, _data, message: plain.update(
                [checker.number_of(bytes(message.payload)) or 0]
            )
            _publish(client, [(f"{root}/{topic}", body(number)) for number, topic in enumerate(_TOPICS, 1)])
            _settle(stage, sources)

        def check(source: str) -> Outcome:
            with stage.client() as redis:
                queued = checker.look(redis, [source])[source].queued
            if queued == plain:
                return HELD
            return Outcome("FAILED", f"the bridge got {dict(queued)}, a plain client {dict(plain)}")

        return each(sources, check)


def shared(trial: Trial) -> Outcomes:
    """Two bridges share 300 events of a shared subscription; each arrives once."""
    outcomes = {}
    for source in trial.sources():
        if source.startswith("mqtt-5"):
            outcomes[source] = _shared(trial, source)
    return outcomes


def retained(trial: Trial) -> Outcomes:
    """A retained message comes at the first start; with MQTT 5 not again at the next, with 3.1.1 each time."""
    topic = f"kept-{uuid.uuid4().hex[:8]}"
    broker = trial.brokers.get("broker")
    client = _plain_client()
    connect(client, broker.port)
    client.publish(f"{topic}/a", body(1), qos=1, retain=True).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
    sources = trial.sources()
    settings = {source: {"topics": [f"{topic}/a"]} for source in sources}
    with Stage(trial.brokers, sources, short=True, rate=0, per_source=settings) as stage:
        _settle(stage, sources)
        first = _counts(stage, sources)
        stage.bridge.restart()
        _settle(stage, sources)
        both = _counts(stage, sources)
    return each(sources, lambda source: _retained(source, first[source], both[source]))


def _retained(source: str, first: int, both: int) -> Outcome:
    wanted = 1 if source.startswith("mqtt-5") else 2
    if (first, both) == (1, wanted):
        return HELD
    if first == 0:
        return Outcome("FAILED", "no retained message came")
    if first == 1 and both < wanted:
        return Outcome("broker", "sends retained messages not again to a session that it kept")
    return Outcome("broker" if first == 1 else "FAILED", f"{first} came at the first start, {both - first} at the next")


def _shared(trial: Trial, source: str) -> Outcome:
    group = f"$share/{uuid.uuid4().hex[:8]}/shared"
    if refused := trial.refusals({"shared": (source, {"topics": [group]})}):
        words = refused["shared"]
        taken = _takes_shared(trial.brokers.get("broker").port)
        return Outcome("FAILED", f"{words}: but a plain client may") if taken else Outcome("refused", words)

    def act(stage: Stage, _: Any) -> None:
        for load in stage.loads.values():
            load.burst(300)

    settings = {"replicas": 2, "rate": 0}
    (outcome,) = trial.experiment(act, sources=(source,), stage=settings, controlled=False, recovery_s=None).values()
    return outcome


def _takes_shared(port: int) -> bool:
    """Whether a plain client of MQTT 5 may subscribe to a shared subscription, as CONNACK and SUBACK say."""
    answers: list[Any] = []
    client = Client(CallbackAPIVersion.VERSION2, f"shared-{uuid.uuid4().hex[:8]}", protocol=MQTTv5)
    client.on_connect = lambda _client, _data, _flags, _reason, connack: answers.append(connack)
    client.on_subscribe = lambda _client, _data, _mid, reasons, _properties: answers.append(reasons[0])
    connect(client, port)
    if getattr(answers[0], "SharedSubscriptionAvailable", 1) == 0:
        client.disconnect()
        client.loop_stop()
        return False
    client.subscribe("$share/plain/shared", qos=1)
    wait_until(lambda: len(answers) > 1 or not client.is_connected(), 10, "the broker's SUBACK")
    client.disconnect()
    client.loop_stop()
    return len(answers) > 1 and not answers[1].is_failure


def _connack(stage: Stage) -> dict[str, Any]:
    answers: list[Any] = []
    client = Client(CallbackAPIVersion.VERSION2, f"limits-{uuid.uuid4().hex[:8]}", protocol=MQTTv5)
    client.on_connect = lambda _client, _data, _flags, _reason, properties: answers.append(properties)
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = _WEEK_S
    client.connect("127.0.0.1", stage.feeds[stage.sources[0]].broker.port, properties=properties)
    client.loop_start()
    wait_until(lambda: answers, 10, "the broker's CONNACK")
    client.disconnect()
    client.loop_stop()
    return {key: value for key, value in answers[0].json().items() if key not in {"UserProperty", "ReasonString"}}


def _compare(stage: Stage, announced: dict[str, Any]) -> Outcome:
    shortened = announced.get("SessionExpiryInterval", _WEEK_S) < _WEEK_S
    said = bool(stage.bridge.events("source.session_shortened"))
    if shortened != said:
        return Outcome(
            "FAILED", f"the session is {'' if shortened else 'not '}shortened, and the bridge says otherwise"
        )
    return HELD


def _counts(stage: Stage, sources: Iterable[str]) -> dict[str, int]:
    with stage.client() as client:
        return {source: len(queue_messages(client, source)) for source in sources}


def _settle(stage: Stage, sources: Iterable[str]) -> None:
    """Return once nothing has arrived for a while."""
    before, since = _counts(stage, sources), time.monotonic()
    while time.monotonic() < since + _QUIET_S:
        time.sleep(0.1)
        now = _counts(stage, sources)
        if now != before:
            before, since = now, time.monotonic()


def _publish(client: Client, messages: Iterable[tuple[str, bytes]]) -> None:
    for topic, payload in messages:
        client.publish(topic, payload, qos=1).wait_for_publish(10)


def _plain_client() -> Client:
    return Client(CallbackAPIVersion.VERSION2, f"plain-{uuid.uuid4().hex[:8]}")


class _Plain:
    """A plain client that is subscribed to `filters`; use it as a context manager."""

    def __init__(self, stage: Stage, filters: Iterable[str]) -> None:
        self._client = _plain_client()
        self._port = stage.feeds[stage.sources[0]].broker.port
        self._filters = list(filters)

    def __enter__(self) -> Client:
        granted: list[int] = []
        self._client.on_subscribe = lambda _client, _data, mid, *_: granted.append(mid)
        connect(self._client, self._port)
        for one in self._filters:
            self._client.subscribe(one, qos=1)
        wait_until(lambda: len(granted) == len(self._filters), 10, "the plain client's subscriptions")
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
