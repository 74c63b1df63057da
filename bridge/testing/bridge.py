"""An event through the routes of a file into a broker of Dramatiq's, in the process of an application's tests."""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import ValidationError

from bridge.config import Config
from bridge.config.cases import EventCase
from bridge.config.files import base_directory
from bridge.config.loading import load_with_places
from bridge.config.message_options import OPTIONS, Kind
from bridge.config.substitution import Substitution
from bridge.config.validation_errors import translate
from bridge.config.wording import describe, near_miss, quoted, spell_path
from bridge.dry_run.events import described_event
from bridge.dry_run.gates import Remembered
from bridge.dry_run.results import Result
from bridge.dry_run.runs import DryRun
from bridge.errors import Diagnostic, InvalidValue
from bridge.routing.compiler import check_routes


class NotDelivered(AssertionError):
    """The event made no message, or a dead letter; the text tells the verdict of each route."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that a route has made, as its worker gets it."""

    route: str
    actor: str
    queue: str
    args: list[Any]
    kwargs: dict[str, Any]
    options: dict[str, Any]


class Bridge:
    """The routes of a configuration. References without a value get placeholders, as with `dramatiq-bridge test`.

    Raises:
        ConfigError: the file has mistakes.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._directory = base_directory(path)
        self.config: Config = load_with_places(path, Substitution(os.environ, allow_unset=True), check_routes).model
        self._dry_run = DryRun(self.config, unique=True)
        self._remembered: Remembered | None = None

    def route(self, event: Mapping[str, Any], *, now_ms: int | None = None) -> list[Delivery]:
        """Return the messages that the routes make of `event`, written as in `tests:`; [] if none fits.

        Raises:
            ValueError: it is no event of this configuration.
            NotDelivered: it becomes a dead letter.
        """
        return _deliveries(self._run(event, now_ms))

    def deliver(self, broker: Any, event: Mapping[str, Any], *, now_ms: int | None = None) -> list[Delivery]:
        """Put the messages of `event` into a StubBroker of Dramatiq's, and return them.

        Raises:
            ValueError: it is no event of this configuration.
            TypeError: the broker is one whose workers would run the messages.
            NotDelivered: no route fits, it becomes a dead letter, or the broker has no such actor on that queue. Then the
                broker has got no message.
        """
        if not isinstance(broker, importlib.import_module("dramatiq.brokers.stub").StubBroker):
            name = type(broker).__name__
            raise TypeError(f"this is a {name}: its workers would run the messages of the test; give a StubBroker")
        result = self._run(event, now_ms)
        deliveries = _deliveries(result)
        if not deliveries:
            raise NotDelivered(_explanation("no route fits", result))
        chosen = {str(route.name): set(route.queues) for route in self.config.routes if len(route.queues) > 1}
        for delivery in deliveries:
            queue: str | None = delivery.queue
            if queue in chosen.get(delivery.route, ()):
                # An event chooses it: workers read it if the application declares it, whatever the actor's own.
                if queue not in broker.queues:
                    raise NotDelivered(f"route {delivery.route}: the broker has no queue {quoted(queue)}; declare it")
                queue = None
            _check_actor(broker, delivery.route, delivery.actor, queue)
            for actor, queue in _later(delivery.options):
                _check_actor(broker, delivery.route, actor, queue)
        message_class = importlib.import_module("dramatiq").Message
        for each in result.messages:
            broker.enqueue(message_class.decode(msgspec.json.encode(each.message)))
        return deliveries

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Remember the keys of messages (`deduplicate` of a route) from event to event; outside, each event is the first."""
        self._remembered = set()
        try:
            yield
        finally:
            self._remembered = None

    def _run(self, event: Mapping[str, Any], now_ms: int | None) -> Result:
        case = _case(event)
        source = self.config.sources.get(case.source)
        if source is None:
            raise ValueError(f"no source is named {quoted(case.source)}; there are {', '.join(self.config.sources)}")
        now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        try:
            return self._dry_run.run(described_event(case, source, self._directory, now), now, self._remembered)
        except InvalidValue as error:
            raise ValueError("\n".join(_placed(error.diagnostics))) from None


def _case(event: Mapping[str, Any]) -> EventCase:
    if not isinstance(event, Mapping):
        raise ValueError(f"an event is a mapping, as in tests:, not {describe(event)}")  # noqa: TRY004 - as all its mistakes
    try:
        json.dumps(event.get("payload"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"event.payload: JSON can't hold it: {error}; bytes go into payload_base64") from None
    try:
        return EventCase.model_validate(dict(event), by_alias=True, by_name=False)
    except ValidationError as error:
        raise ValueError("\n".join(_placed(translate(error, EventCase)))) from None


def _placed(mistakes: Iterable[Diagnostic]) -> list[str]:
    return [f"{spell_path(('event', *each.path))}: {each}" for each in mistakes]


def _explanation(verdict: str, result: Result) -> str:
    lines = [verdict]
    if result.not_brought:
        lines.append(result.not_brought)
    if result.dead_letter is not None:
        lines.append(str(result.dead_letter))
    lines += [f"route {one.route}: {one.why}" for one in result.explained() if not one.messages]
    return "\n  ".join(lines)


def _deliveries(result: Result) -> list[Delivery]:
    if result.dead_letters:
        raise NotDelivered(_explanation("the event becomes a dead letter", result))
    return [_delivery(each.route, each.message) for each in result.messages]


def _check_actor(broker: Any, route: str, name: str, queue: str | None) -> None:
    """Raise NotDelivered for a message that no worker would run: Dramatiq 1 says nothing about it."""
    actor = broker.actors.get(name)
    if actor is None:
        known = f"its actors: {', '.join(sorted(broker.actors))}"
        if not broker.actors:
            known = "it has none: set it before the module with the actors is imported"
        hint = near_miss(name, broker.actors, 0.6) or known
        raise NotDelivered(f"route {route}: the broker has no actor {quoted(name)}; {hint}")
    if queue not in {None, actor.queue_name}:
        text = f"the actor {name} is on the queue {actor.queue_name}, the message on {queue}"
        raise NotDelivered(f"route {route}: {text}")


def _later(options: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Yield the actors that Dramatiq calls after the first one, with the queues that the message names for them."""
    for option, value in options.items():
        kind = OPTIONS.get(option)
        if kind is Kind.ACTOR:
            yield value, None
        for step in [value] if kind is Kind.MESSAGE else value if kind is Kind.MESSAGES else ():
            yield step["actor_name"], step["queue_name"]
            yield from _later(step["options"])


def _delivery(route: str, message: dict[str, Any]) -> Delivery:
    queue = message["queue_name"].removesuffix(".DQ")
    return Delivery(route, message["actor_name"], queue, message["args"], message["kwargs"], message["options"])
