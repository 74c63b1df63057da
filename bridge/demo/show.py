"""The demo from its beginning to its end: start everything, show what happens, stop in order, add up."""

from __future__ import annotations

import json
import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any, Final, Self

import redis

from bridge import config
from bridge.config import Route
from bridge.demo import EXECUTIONS
from bridge.demo.children import Children
from bridge.demo.generator import Generator
from bridge.demo.screen import Row, Screen
from bridge.demo.servers import Servers, config_path
from bridge.errors import BridgeError
from bridge.routing.compiler import check_routes

#: How long what was sent may take to be executed.
_FINISH_S: Final = 10.0
_TICK_S: Final = 0.05
#: A process that has closed its connections has ended by then.
_ENDED_S: Final = 0.3


def show(screen: Screen, seconds: float | None) -> None:
    """Run the demo until a signal, or until events have flowed for `seconds`.

    Raises:
        BridgeError: something ended or failed, or the numbers in the end differ.
        KeyboardInterrupt: a signal before there was anything to show, or a second one.
    """
    routes = config.load(config_path(), environ={}, check=check_routes).routes
    with Interruption() as interruption, Children(lambda: interruption.asked) as children:
        screen.explain(routes[0], seconds)
        screen.note("starting Valkey, an MQTT broker, a Dramatiq worker and the bridge ...")
        servers = Servers(children)
        with Executions(servers.redis_url, routes, screen) as executions:
            try:
                end = math.inf if seconds is None else time.monotonic() + seconds
                sent = _flow(
                    servers, children, executions, screen, lambda: interruption.asked or time.monotonic() > end
                )
            except (BridgeError, redis.RedisError) as error:
                # Whose end it was says more than whose connection was lost.
                time.sleep(_ENDED_S)
                children.check()
                raise BridgeError(str(error)) from None
            screen.note("stopping the bridge, the worker and the brokers ...")
            counted = servers.stop_bridge()
            servers.stop_worker()
            executions.take()
        servers.stop_brokers()
        rows = _rows(sent, counted, executions.counts)
        screen.summary(rows)
        _judge(rows, servers.complaints())


class Interruption:
    """SIGINT and SIGTERM: the first one asks for the end, the second one takes it at once."""

    #: A Ctrl-C may come twice: from the terminal, and from whoever passes it on (make, timeout).
    _SAME_S: Final = 1.0

    def __init__(self) -> None:
        self.asked = False
        self._at = -math.inf
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.asked and now - self._at > self._SAME_S:
            raise KeyboardInterrupt
        self.asked = True
        self._at = now


class Executions:
    """What the actors say that they have done; `counts` counts it by the source whose events they are."""

    def __init__(self, redis_url: str, routes: Sequence[Route], screen: Screen) -> None:
        self.counts: Counter[str] = Counter()
        self._source = {route.actor: route.source for route in routes}
        self._screen = screen
        self._redis = redis.Redis.from_url(redis_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._redis.close()

    def take(self) -> None:
        """Show and count what is new."""
        answer: Any = self._redis.lpop(EXECUTIONS, 1000)
        for entry in map(json.loads, answer or ()):
            self.counts[self._source[entry["actor"]]] += 1
            self._screen.execution(entry["actor"], entry["args"], entry["kwargs"], entry["says"])


def _flow(
    servers: Servers, children: Children, executions: Executions, screen: Screen, over: Callable[[], bool]
) -> Counter[str]:
    """Let events flow until it is over, then wait for the last of them; return how many were sent, by source."""
    with Generator(servers.mqtt_url, servers.redis_url) as generator:
        while not over():
            for event in generator.publish():
                screen.event(event)
            executions.take()
            children.check()
            generator.serve(_TICK_S)
        screen.note("no more events; waiting for the actors that are still to run ...")
        end = time.monotonic() + _FINISH_S
        while time.monotonic() < end:
            executions.take()
            if generator.confirmed and executions.counts.total() >= generator.sent.total():
                break
            children.check()
            generator.serve(_TICK_S)
        return generator.sent


def _rows(
    sent: Mapping[str, int], counted: Mapping[str, Mapping[str, int]], executed: Mapping[str, int]
) -> dict[str, Row]:
    return {
        name: Row(sent.get(name, 0), counts["received"], counts["messages"], executed.get(name, 0))
        for name, counts in counted.items()
    }


def _judge(rows: Mapping[str, Row], complaints: Sequence[str]) -> None:
    different = [name for name, row in rows.items() if not row.equal]
    if not rows:
        raise BridgeError("the bridge did not say what it received")
    if different:
        says = "the bridge complained:" if complaints else "the bridge did not complain"
        raise BridgeError("\n  ".join([f"the numbers of {', '.join(different)} differ; {says}", *complaints]))
