"""What MQTT brokers do differently: their limits, wildcards, shared subscriptions, retained messages."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.faults import checker
from tests.faults.ledger import body
from tests.faults.stage import Stage
from tests.interop.outcome import HELD, Outcome, Outcomes
from tests.interop.trial import Trial, each
from tests.support.children import wait_until
from tests.support.feeds import connect

_WEEK_S: Final = 7 * 86_400
_FILTERS: Final = ("plain", "one/+/level", "rest/#", "+/+/+/four", "empty//level", "ünï/cöde/+")
_TOPICS: Final = (
    *("plain", "one/a/level", "one//level", "one/a/b/level", "rest", "rest/a", "rest/a/b/c", "1/2/3/four"),
    *("1/2/3/4/four", "empty//level", "empty/level", "ünï/cöde/ö", "Plain", "other"),
)
#: The number of an event that is published after all others.
_LAST: Final = 100
_RETAINED: Final = 1
#: For `wait_until`, which waits three times as long.
_MINUTE_S: Final = 20.0
_SHARED: Final = 300
#: Some brokers deal shared events out by chance, and now and then one of two subscribers gets all.
_TRIES: Final = 5


def limits(trial: Trial) -> Outcomes:
    """The bridge says so where the broker keeps its session for less than a week, as a plain client's CONNACK shows; the other limits are noted."""
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
            _publish(client, [(f"{root}/{_FILTERS[0]}", body(_LAST))])
            wait_until(lambda: plain[_LAST], what="the plain client's last event")
            _await_numbers(stage, sources, _LAST)

        def check(source: str) -> Outcome:
            with suppress(AssertionError):
                wait_until(lambda: _queued(stage, source) == plain, _MINUTE_S)
            if (queued := _queued(stage, source)) == plain:
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
    topic = f"kept-{uuid.uuid4().hex[:8]}/a"
    port = trial.brokers.get("broker").port
    with _connected(_plain_client(), port) as client:
        client.publish(topic, body(_RETAINED), qos=1, retain=True).wait_for_publish(60)
    sources = trial.sources()
    settings = {source: {"topics": [topic]} for source in sources}
    with Stage(trial.brokers, sources, short=True, rate=0, per_source=settings) as stage:
        first = _brought(stage, sources, topic, _LAST, dict.fromkeys(sources, 1))
        stage.bridge.restart()
        both = _brought(stage, sources, topic, _LAST + 1, {source: _wanted(source) for source in sources})

        def check(source: str) -> Outcome:
            came = first[source], both[source]
            plain = came if came == (1, _wanted(source)) else _plain_retained(port, topic, five=_is_five(source))
            return judge_retained(source, came, plain)

        return each(sources, check)


def judge_retained(source: str, came: tuple[int, int], plain: tuple[int, int]) -> Outcome:
    """Judge how often a retained message came at the first start, and with the next, to the bridge and to a plain client."""
    if came == (1, _wanted(source)):
        return HELD
    text = f"{came[0]} came at the first start, {came[1] - came[0]} at the next"
    if came == plain:
        return Outcome("broker", f"{text}, to a plain client as well")
    return Outcome("FAILED", f"{text}; to a plain client {plain[0]} and {plain[1] - plain[0]}")


def _brought(stage: Stage, sources: Sequence[str], topic: str, number: int, wanted: dict[str, int]) -> dict[str, int]:
    """Return how often the retained message has come, once a later event has; the wanted ones are waited for."""
    with _connected(_plain_client(), stage.feeds[sources[0]].broker.port) as client:
        _publish(client, [(topic, body(number))])
    _await_numbers(stage, sources, number)
    with suppress(AssertionError):
        wait_until(
            lambda: all(_queued(stage, source)[_RETAINED] >= count for source, count in wanted.items()), _MINUTE_S
        )
    return {source: _queued(stage, source)[_RETAINED] for source in sources}


def _plain_retained(port: int, topic: str, *, five: bool) -> tuple[int, int]:
    """Return how often the retained message comes to a plain client, in the first connection of a session and in both."""
    seen: Counter[int] = Counter()
    version = {"protocol": MQTTv5} if five else {"clean_session": False}
    client = Client(CallbackAPIVersion.VERSION2, f"plain-{uuid.uuid4().hex[:8]}", **version)
    client.on_message = lambda _client, _data, message: seen.update([checker.number_of(bytes(message.payload)) or 0])
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = _WEEK_S
    options = {"options": SubscribeOptions(1, retainHandling=1)} if five else {"qos": 1}

    def count(connection: int) -> int:
        settings: dict[str, Any] = {"clean_start": False, "properties": session} if five else {}
        with _connected(client, port, **settings):
            _subscribe(client, topic, **options)
            last = _LAST + 1 + connection
            _publish(client, [(topic, body(last))])
            wait_until(lambda: seen[last], what="the plain client's last event")
            with suppress(AssertionError):
                wait_until(lambda: seen[_RETAINED] >= connection, _MINUTE_S / 2)
            return seen[_RETAINED]

    return count(1), count(2)


def _is_five(source: str) -> bool:
    return source.startswith("mqtt-5")


def _wanted(source: str) -> int:
    return 1 if _is_five(source) else 2


def _shared(trial: Trial, source: str) -> Outcome:
    group = f"$share/{uuid.uuid4().hex[:8]}/shared"
    if refused := trial.refusals({"shared": (source, {"topics": [group]})}):
        words = refused["shared"]
        taken = _takes_shared(trial.brokers.get("broker").port)
        return Outcome("FAILED", f"{words}: but a plain client may") if taken else Outcome("refused", words)

    tries = []
    for _ in range(_TRIES):
        outcome, took = _share(trial, source)
        if outcome != HELD or min(took) > 0:
            return outcome
        plain = _plain_pair(trial.brokers.get("broker").port)
        if min(plain) < _SHARED // 20:
            return Outcome("broker", f"gives one subscriber nearly all, now and then: of two plain clients {plain}")
        tries.append(f"the bridges took {took} of {_SHARED}, two plain clients {plain}")
    return Outcome("FAILED", "; ".join(tries))


def _share(trial: Trial, source: str) -> tuple[Outcome, list[int]]:
    """Return whether each event arrived once, and how many events each of two bridges took."""
    took: list[int] = []

    def act(stage: Stage, _: Any) -> None:
        stage.loads[source].burst(_SHARED)
        wait_until(lambda: _queued(stage, source).total() >= _SHARED, what="the shared events")
        took.extend(bridge.state(source)["received"] for bridge in stage.bridges)

    settings = {"replicas": 2, "rate": 0}
    (outcome,) = trial.experiment(act, sources=(source,), stage=settings, controlled=False, recovery_s=None).values()
    return outcome, took


def _plain_pair(port: int) -> list[int]:
    """Return how many events of a shared subscription two plain clients get."""
    topic = f"pair-{uuid.uuid4().hex[:8]}"
    seen = [0, 0]
    with ExitStack() as ends:
        for index in range(2):
            client = Client(CallbackAPIVersion.VERSION2, f"pair-{uuid.uuid4().hex[:8]}", protocol=MQTTv5)

            def take(*_: Any, index: int = index) -> None:
                seen[index] += 1

            client.on_message = take
            ends.enter_context(_connected(client, port))
            _subscribe(client, f"$share/pair/{topic}", qos=1)
        publisher = ends.enter_context(_connected(_plain_client(), port))
        _publish(publisher, [(topic, body(number)) for number in range(_SHARED)])
        wait_until(lambda: sum(seen) >= _SHARED, what="the plain clients' events")
    return seen


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
    wait_until(lambda: len(answers) > 1 or not client.is_connected(), what="the broker's SUBACK")
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
    wait_until(lambda: answers, what="the broker's CONNACK")
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


def _queued(stage: Stage, source: str) -> Counter[int]:
    with stage.client() as client:
        return checker.look(client, [source])[source].queued


def _await_numbers(stage: Stage, sources: Iterable[str], number: int) -> None:
    wait_until(lambda: all(_queued(stage, source)[number] for source in sources), what=f"event {number} of each source")


def _subscribe(client: Client, topic: str, **options: Any) -> None:
    granted: list[int] = []
    client.on_subscribe = lambda _client, _data, mid, *_: granted.append(mid)
    client.subscribe(topic, **options)
    wait_until(lambda: granted, what="the plain client's subscription")


@contextmanager
def _connected(client: Client, port: int, **settings: Any) -> Iterator[Client]:
    client.connect("127.0.0.1", port, **settings)
    client.loop_start()
    try:
        wait_until(client.is_connected, what="the broker's CONNACK")
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def _publish(client: Client, messages: Iterable[tuple[str, bytes]]) -> None:
    for topic, payload in messages:
        client.publish(topic, payload, qos=1).wait_for_publish(60)


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
        wait_until(lambda: len(granted) == len(self._filters), what="the plain client's subscriptions")
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
