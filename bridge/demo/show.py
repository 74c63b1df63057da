"""The course of the demo: start everything, show events and executions, stop in order, compare the numbers."""

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

#: How long the actors of the last events may take.
_FINISH_TIMEOUT_S: Final = 10.0
_TICK_S: Final = 0.05
#: Wait after a lost connection: the process that closed it has ended by then.
_END_WAIT_S: Final = 0.3


def show(screen: Screen, seconds: float | None) -> None:
    """Run the demo until a signal, or until events have flowed for `seconds`.

    Raises:
        BridgeError: a child process ended or failed, or the numbers differ.
        KeyboardInterrupt: a signal came before the servers were ready, or a second signal came.
    """
    routes = config.load(config_path(), environ={}, check=check_routes).routes
    with Interruption() as interruption, Children(lambda: interruption.requested) as children:
        screen.explain(routes[0], seconds)
        screen.note("starting Valkey, an MQTT broker, a Dramatiq worker and the bridge ...")
        servers = Servers(children)
        with Executions(servers.redis_url, routes, screen) as executions:
            try:
                end = math.inf if seconds is None else time.monotonic() + seconds
                sent = _flow(
                    servers, children, executions, screen, lambda: interruption.requested or time.monotonic() > end
                )
            except (BridgeError, redis.RedisError) as error:
                # The end of a child process explains more than a lost connection does.
                time.sleep(_END_WAIT_S)
                children.check()
                raise BridgeError(str(error)) from None
            screen.note("stopping the bridge, the worker and the brokers ...")
            counted = servers.stop_bridge()
            servers.stop_worker()
            executions.show_new()
        servers.stop_brokers()
        rows = _rows(sent, counted, executions.counts)
        screen.summary(rows)
        _check_equal(rows, servers.complaints())


class Interruption:
    """SIGINT and SIGTERM: the first signal requests an orderly stop, the second raises KeyboardInterrupt."""

    #: Signals this close together are one: Ctrl-C may come from the terminal and again from make or timeout.
    _SAME_SIGNAL_S: Final = 1.0

    def __init__(self) -> None:
        self.requested = False
        self._requested_at = -math.inf
        self._previous_handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous_handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.requested and now - self._requested_at > self._SAME_SIGNAL_S:
            raise KeyboardInterrupt
        self.requested = True
        self._requested_at = now


class Executions:
    """The executions that the actors report; `counts` counts them by the source of their events."""

    def __init__(self, redis_url: str, routes: Sequence[Route], screen: Screen) -> None:
        self.counts: Counter[str] = Counter()
        self._source = {route.actor: route.source for route in routes}
        self._screen = screen
        self._redis = redis.Redis.from_url(redis_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._redis.close()

    def show_new(self) -> None:
        """Show and count the executions since the last call."""
        elements: Any = self._redis.lpop(EXECUTIONS, 1000)
        for execution in map(json.loads, elements or ()):
            self.counts[self._source[execution["actor"]]] += 1
            self._screen.execution(execution["actor"], execution["args"], execution["kwargs"], execution["effect"])


def _flow(
    servers: Servers, children: Children, executions: Executions, screen: Screen, is_over: Callable[[], bool]
) -> Counter[str]:
    """Publish events until `is_over()`, then wait for the last executions; return the number of sent events by source."""
    with Generator(servers.mqtt_url, servers.redis_url) as generator:
        while not is_over():
            for event in generator.publish():
                screen.event(event)
            executions.show_new()
            children.check()
            generator.serve(_TICK_S)
        screen.note("no more events; waiting for the actors that are still to run ...")
        deadline = time.monotonic() + _FINISH_TIMEOUT_S
        while time.monotonic() < deadline:
            executions.show_new()
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


def _check_equal(rows: Mapping[str, Row], complaints: Sequence[str]) -> None:
    different = [name for name, row in rows.items() if not row.equal]
    if not rows:
        raise BridgeError("the bridge did not say what it received")
    if different:
        log = "the bridge complained:" if complaints else "the bridge did not complain"
        raise BridgeError("\n  ".join([f"the numbers of {', '.join(different)} differ; {log}", *complaints]))
