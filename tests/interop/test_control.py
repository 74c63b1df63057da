"""What a plain client beside the bridge shows: which events it had to see, and which it has not seen."""

from __future__ import annotations

import threading
import time
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from tests.faults.ledger import Ledger, Load, body
from tests.interop.control import Control
from tests.interop.outcome import Witness
from tests.interop.tap import Tap
from tests.support.brokers import Mosquitto
from tests.support.children import wait_until
from tests.support.feeds import MqttFeed, connect

_SOURCE = "mqtt-5-fast"


class _Told(Control):
    """Sees the numbers that it is told."""

    connected = True
    closed = False

    def see(self, *numbers: int) -> None:
        for number in numbers:
            self._take(_SOURCE, body(number))

    def close(self) -> None:
        self.closed = True


def _control(ledger: Ledger, mosquitto: Any = None) -> _Told:
    load = Load.__new__(Load)
    load.ledger = ledger
    return _Told({_SOURCE: MqttFeed(mosquitto)}, {_SOURCE: load})


def test_it_has_to_see_what_is_published_from_its_beginning_on() -> None:
    """Its first loss counts too, and no event from before it."""
    ledger = Ledger(5, list(range(5)))
    control = _control(ledger)
    control.begin()
    ledger.confirmed += range(5, 10)
    control.see(7, 8, 9)
    assert control.witness(_SOURCE) == Witness(5, frozenset({5, 6}))


def test_a_client_that_saw_nothing_is_blind() -> None:
    """It has missed nothing where there was nothing to see."""
    ledger = Ledger()
    control = _control(ledger)
    control.begin()
    assert not control.witness(_SOURCE).blind
    ledger.confirmed += range(5)
    assert control.witness(_SOURCE).blind
    control.see(4)
    assert not control.witness(_SOURCE).blind


def test_only_a_broker_that_forgot_its_session_excuses_unacknowledged_events() -> None:
    """A broker that remembers the plain client's session has to bring the bridge's events again."""
    control = _control(Ledger())
    assert control.witness(_SOURCE, frozenset({1})).forgotten == frozenset()
    control.forgotten = True
    assert control.witness(_SOURCE, frozenset({1})).forgotten == frozenset({1})


def test_it_is_waited_for_before_it_is_judged() -> None:
    """An event that comes to it later than to the bridge is no loss."""
    control = _control(Ledger(2, [0, 1]))
    threading.Timer(1, control.see, (0, 1)).start()
    since = time.monotonic()
    control.finish()
    assert time.monotonic() < since + 9, "it waited for more than was confirmed"
    assert control.closed
    assert control.witness(_SOURCE) == Witness()


def test_a_tap_knows_the_acknowledged_events(mosquitto: Mosquitto) -> None:
    """An event that a client has got and not acknowledged is not among them."""
    feed = MqttFeed(mosquitto)
    feed.prepare()
    with Tap(mosquitto.port) as tap:
        client = Client(CallbackAPIVersion.VERSION2, feed.name, clean_session=False, manual_ack=True)
        got: list[Any] = []
        client.on_message = lambda _client, _data, message: got.append(message)
        connect(client, tap.port)
        feed.publish([{"n": number, "text": "x" * 300} for number in range(3)])
        wait_until(lambda: len(got) == 3, what="three events")
        for message in got[:2]:
            client.ack(message.mid, message.qos)
        wait_until(lambda: len(tap.acknowledged[feed.topic]) == 2, what="two acknowledgements")
        client.disconnect()
        client.loop_stop()
    assert tap.acknowledged == {feed.topic: {0, 1}}
