"""The course of the demo: start everything, show events with their ends, stop in order, compare the numbers."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any, Final, Self

import redis

from bridge import config
from bridge.demo.acts import Acts
from bridge.demo.children import Children
from bridge.demo.configuration import config_path
from bridge.demo.generator import Generator
from bridge.demo.ledger import Ledger
from bridge.demo.rabbitmq import find_rabbitmq
from bridge.demo.screen import Row, Screen
from bridge.demo.servers import Servers
from bridge.errors import BridgeError, describe_error
from bridge.routing.compiler import check_routes

#: How long the last events may take, once nothing ends any more.
_FINISH_TIMEOUT_S: Final = 30.0
_TICK_S: Final = 0.05
#: Wait after a lost connection: the process that closed it has ended by then.
_END_WAIT_S: Final = 0.3


def show(screen: Screen, seconds: float | None) -> None:
    """Run the demo until a signal, or until events have flowed for `seconds`.

    The last lines tell how to go on.

    Raises:
        BridgeError: a child process ended or failed, or the numbers differ.
        KeyboardInterrupt: a signal came before the servers were ready, or a second signal came.
    """
    routes = config.load(config_path(), environ={}, check=check_routes).routes
    with Interruption() as interruption, Children(lambda: interruption.requested) as children:
        screen.explain(routes[0], seconds)
        try:
            _play(screen, children, seconds, lambda: interruption.requested)
        except KeyboardInterrupt:
            screen.note("ended at once, without a summary")
            raise


def _play(screen: Screen, children: Children, seconds: float | None, is_interrupted: Callable[[], bool]) -> None:
    servers = _start(children, screen)
    with Ledger(servers, screen) as ledger:
        try:
            sent, left_out = _flow(servers, children, ledger, screen, seconds=seconds, is_interrupted=is_interrupted)
        except (BridgeError, redis.RedisError) as error:
            # The end of a child process explains more than a lost connection does.
            time.sleep(_END_WAIT_S)
            children.check()
            raise BridgeError(str(error)) from None
        screen.note("stopping the bridge, the worker and the brokers ...")
        counted = servers.stop_bridge()
        servers.stop_worker()
        ledger.show_new()
    servers.stop_brokers()
    rows = _rows(sent, counted, ledger)
    screen.summary(rows)
    if left_out:
        screen.note(f"left out: {', '.join(left_out)}; 12 s are enough for everything")
    _check_equal(rows, servers.complaints())
    screen.next_steps()


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


def _start(children: Children, screen: Screen) -> Servers:
    rabbitmq = find_rabbitmq()
    screen.note("starting two Redis (Valkey), an MQTT broker, a worker, the bridge ...")
    if rabbitmq is None:
        screen.note("without RabbitMQ, as PATH does not have rabbitmq-server and epmd")
    else:
        screen.note("starting RabbitMQ as well, which may take 10 s ...")
    try:
        servers = Servers(children, rabbitmq)
    except OSError as error:
        raise BridgeError(f"the demo can't write to {children.directory}: {describe_error(error)}") from None
    if rabbitmq is not None and servers.amqp_url is None:
        screen.note("without RabbitMQ, which did not start", "bold red")
    screen.note(f"look inside, as long as the demo runs: {servers.page}", "bold")
    return servers


def _flow(
    servers: Servers,
    children: Children,
    ledger: Ledger,
    screen: Screen,
    *,
    seconds: float | None,
    is_interrupted: Callable[[], bool],
) -> tuple[Mapping[str, int], Sequence[str]]:
    """Publish events until the end, then wait for the last ones.

    Return the number of sent events by source, and the acts that are left out.
    """
    end = math.inf if seconds is None else time.monotonic() + seconds

    def is_over() -> bool:
        return is_interrupted() or time.monotonic() > end

    with Generator(servers.mqtt_url, servers.events_url, servers.amqp_url) as generator:
        acts = Acts(servers, ledger, generator, screen, seconds=seconds, is_over=is_over)

        def tick() -> None:
            ledger.show_new()
            children.check()
            generator.serve(_TICK_S)

        while not is_over():
            if acts.step():
                ledger.open.extend(generator.publish())
            tick()
        screen.note("no more events; waiting for the actors that are still to run ...")
        ended, deadline = 0, time.monotonic() + _FINISH_TIMEOUT_S
        while (ledger.open or not generator.confirmed or not acts.are_over) and time.monotonic() < deadline:
            acts.step()
            tick()
            if ledger.ended > ended:
                ended, deadline = ledger.ended, time.monotonic() + _FINISH_TIMEOUT_S
        return generator.sent, acts.left_out


def _rows(sent: Mapping[str, int], counted: Mapping[str, Mapping[str, int]], ledger: Ledger) -> dict[str, Row]:
    return {
        name: Row(sent.get(name, 0), counts["received"], counts["messages"], ledger.executed[name], ledger.dead[name])
        for name, counts in counted.items()
    }


def _check_equal(rows: Mapping[str, Row], complaints: Sequence[str]) -> None:
    different = [name for name, row in rows.items() if not row.equal]
    if not rows:
        raise BridgeError("the bridge did not say what it received")
    if different:
        log = "the bridge complained:" if complaints else "the bridge did not complain"
        raise BridgeError("\n  ".join([f"the numbers of {', '.join(different)} differ; {log}", *complaints]))
