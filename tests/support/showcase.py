"""A real bridge under a small load, as a shop and its plant might have it: for the pictures of the page."""

from __future__ import annotations

import itertools
import json
import random
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, Self

import redis
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from bench.publishers import AmqpPublisher
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.children import free_port, wait_until
from tests.support.processes import BridgeProcess

if TYPE_CHECKING:
    from types import TracebackType

TOKEN: Final = "a-token-for-the-pictures"
#: Between two rounds of the load, and events a second.
_ROUND_S: Final = 0.1
_ORDERS, _READINGS, _AUDITS, _SIGNUPS = 240, 90, 34, 3
_QUEUES: Final = {"default": 1.0, "payments": 1.0, "mail": 0.98, "alarms": 1.0, "reports": 1.0}


def config(redis_url: str, mqtt_url: str, amqp_url: str, port: int) -> dict[str, Any]:
    """Return the configuration: four sources of four kinds, nine routes, five queues."""

    def route(source: str, name: str, actor: str, queue: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "from": source, "actor": actor, "queue": queue, **more}

    return {
        "dramatiq": {"url": redis_url, "max_queue_depth": {"mail": 110}},
        "admin": {"listen": f"127.0.0.1:{port}", "token": TOKEN},
        "sources": {
            "orders": {"type": "amqp", "url": amqp_url, "queue": "orders", "window": {"events": 500}},
            "plant": {"type": "mqtt", "url": mqtt_url, "client_id": "showcase"},
            "signups": {"type": "redis-pubsub", "url": redis_url, "channels": ["signups"]},
            "audit": {"type": "redis-stream", "url": redis_url, "streams": ["audit"], "group": "bridge", "field": "data"},
        },
        "routes": [
            route("orders", "reserve-stock", "reserve", "default", args=["$payload.id"]),
            route("orders", "charge-card", "charge", "payments", when="payload.total > 0", args=["$payload.id", "$payload.card"]),
            route("orders", "gift-note", "print_note", "mail", when="payload.gift", args=["$payload.id"]),
            route("plant", "oven-too-hot", "raise_alarm", "alarms", topic="plants/{plant}/ovens/{oven}", when="payload.celsius > 250", args=["$plant", "$int(oven)"]),
            route("plant", "oven-reading", "record", "default", topic="plants/{plant}/ovens/{oven}", args=["$plant", "$payload.celsius"]),
            route("plant", "door-opened", "note_door", "reports", topic="plants/+/doors/#"),
            route("signups", "welcome-mail", "send_welcome", "mail", args=["$payload.user"]),
            route("audit", "keep-entry", "keep", "reports", args=["$payload.user"]),
            route("audit", "failed-logins", "count_failure", "alarms", when="payload.action == 'login failed'", args=["$payload.user"]),
        ],
    }  # fmt: skip


class Showcase:
    """The brokers, the bridge and the load; use it as a context manager, which returns once the bridge is ready."""

    def __init__(self) -> None:
        self._ends = ExitStack()
        self._ended = threading.Event()
        self._random = random.Random(4)
        #: Whether workers take the messages of a queue.
        self.working = True
        self._broken = False

    def __enter__(self) -> Self:
        enter = self._ends.enter_context
        try:
            self.redis, self.mosquitto, rabbitmq = enter(Redis()), enter(Mosquitto()), enter(RabbitMQ())
            self._prepare(rabbitmq)
            self.port = free_port()
            urls = (self.redis.url_of(0), self.mosquitto.url, f"{rabbitmq.url}/")
            self.bridge = enter(BridgeProcess(config(*urls, self.port))).ready()
            for run in (self._publish, self._work):
                thread = threading.Thread(target=run, name=f"showcase:{run.__name__}", daemon=True)
                thread.start()
                self._ends.callback(thread.join, 10)
            self._ends.callback(self._ended.set)
        except BaseException:
            self._ends.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._ended.set()
        self._ends.close()

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.port}/"

    def break_something(self) -> None:
        """Stop the broker of one source, and the workers of a queue that is bounded."""
        self.working = False
        self._broken = True
        self.mosquitto.stop()

    def _prepare(self, rabbitmq: RabbitMQ) -> None:
        rabbitmq.ctl(
            "eval",
            'rabbit_amqqueue:declare({resource, <<"/">>, queue, <<"orders">>}, true, false, [], none, <<"guest">>).',
        )
        self._amqp = AmqpPublisher(rabbitmq.url, exchange="", routing_key="orders")
        self._ends.callback(self._amqp.close)
        with self.redis.client() as client:
            client.xgroup_create("audit", "bridge", id="0", mkstream=True)
        self._mqtt = Client(CallbackAPIVersion.VERSION2)
        self._mqtt.connect("127.0.0.1", self.mosquitto.port)
        self._mqtt.loop_start()
        self._ends.callback(self._mqtt.loop_stop)
        wait_until(self._mqtt.is_connected)

    def _publish(self) -> None:
        numbers = itertools.count(1)
        with self.redis.client() as client:
            while not self._ended.wait(_ROUND_S):
                wave = 1 + 0.25 * self._random.random()
                self._orders(numbers, wave)
                self._readings(wave)
                self._texts(client, wave)

    def _share(self, per_second: float) -> int:
        exact = per_second * _ROUND_S
        return int(exact) + (self._random.random() < exact % 1)

    def _orders(self, numbers: itertools.count[int], wave: float) -> None:
        bodies = []
        for _ in range(self._share(_ORDERS * wave)):
            order = {
                "id": next(numbers),
                "total": self._random.choice((0, 19.9, 240)),
                "card": "tok_81",
                "gift": self._random.random() < 0.05,
            }
            if self._random.random() < 0.0006:
                del order["card"]
            bodies.append(json.dumps(order).encode() if self._random.random() > 0.0008 else b'{"id": 77, "total":')
        self._amqp.publish(bodies)

    def _readings(self, wave: float) -> None:
        for _ in range(self._share(_READINGS * wave)):
            oven = f"plants/{self._random.choice(('north', 'south'))}/ovens/{self._random.randrange(1, 9)}"
            self._mqtt.publish(oven, json.dumps({"celsius": round(self._random.gauss(218, 18), 1)}), qos=1)
        if self._random.random() < 0.05:
            self._mqtt.publish("plants/north/doors/3", json.dumps({"open": True}), qos=1)

    def _texts(self, client: redis.Redis, wave: float) -> None:
        for _ in range(self._share(_AUDITS * wave)):
            action = self._random.choice(("signed in", "changed a price", "login failed", "signed out"))
            client.xadd("audit", {"data": json.dumps({"user": "ada", "action": action})}, maxlen=10_000)
        for _ in range(self._share(_SIGNUPS)):
            client.publish("signups", json.dumps({"user": self._random.randrange(10_000)}))

    def _work(self) -> None:
        """Take messages as workers would: of the queue `mail` a little more slowly than they come."""
        with self.redis.client() as client:
            while not self._ended.wait(0.25):
                if self.working:
                    for queue in _QUEUES:
                        self._take(client, queue)

    def _take(self, client: redis.Redis, queue: str) -> None:
        key = f"dramatiq:{queue}"
        keep = self._random.randrange(20, 60) if queue == "mail" else self._random.randrange(12)
        ids: Any = client.lpop(key, max(0, int(str(client.llen(key))) - keep))
        if ids:
            client.hdel(f"{key}.msgs", *ids)
