"""The stage between a source and the sink: the router turns a batch's events into messages and dead letters."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Final, Literal

from bridge.config import SourceConfig
from bridge.errors import BadEvent, DeadLetterReason
from bridge.model.accounting import Counts
from bridge.model.batch import MAX_BATCH_BYTES, MAX_BATCH_DEAD_LETTERS, Batch, DeadLetter
from bridge.model.column import Column
from bridge.model.event import Event
from bridge.model.message import FREE_MESSAGE_BYTES, MessageIds, check_growth
from bridge.routing import payloads
from bridge.routing.body_reader import source_kind
from bridge.routing.deduplication import Deduplication
from bridge.routing.gates import EXPIRED
from bridge.routing.refusal import Decode
from bridge.routing.repair import DroppedBody, Repairs
from bridge.routing.routes import MAX_TOPIC, ROUTE_ERRORS, Matches, Route, RouteTable
from bridge.routing.validation import validated

#: A batch ends after this CPU time of routing, so that no source waits long for its turn; a machine that is busy with others
#: makes no smaller batches. The clock is asked at bodies that can take milliseconds, and between events whenever so many
#: bytes of messages were made. A route that makes none counts as some.
_MAX_ROUTING_S: Final = 0.025
_LARGE_BODY: Final = 4096
_CLOCK_BYTES: Final = 8192
_NO_MESSAGE_BYTES: Final = 256
#: Ends the batch, whatever is left of it: the routes without a message have added to that.
_FULL: Final = -(1 << 62)


@dataclass(slots=True, eq=False)
class Router:
    """Routes the events of one source: match the topic, size check, decode, build every message.

    An event that would damage a Dramatiq worker becomes a dead letter here, and the next event flows.
    """

    table: RouteTable
    decode: Decode
    max_body_bytes: int
    dead_letter_unmatched: bool
    deduplication: Deduplication | None = None
    #: The repairs that `decode` makes.
    repairs: Repairs = field(default_factory=Repairs)

    def route(self, batch: Batch) -> Counts:
        """Add the messages and dead letters of `batch.events` to `batch`, and return the events' counts.

        Once these fill a batch, the events behind are left: `Counts.received` says how many were routed, at least one.
        """
        steps = self._steps(batch)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]

    async def route_in_turns(self, batch: Batch) -> Counts:
        """Route as `route` does, and let other tasks run where a batch with a number takes long.

        If it is cancelled, or fails, nothing was added to the batch.
        """
        steps = self._steps(batch)
        while True:
            try:
                next(steps)
                await asyncio.sleep(0)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            except BaseException:
                batch.queues.clear()
                batch.dead_letters.clear()
                batch.expired.clear()
                batch.spans = ()
                raise

    def _steps(self, batch: Batch) -> Generator[None, None, Counts]:  # noqa: C901, PLR0912, PLR0915 - one loop without helpers: a call costs more than most of its lines
        """Route as `route` does.

        A batch ends after _MAX_ROUTING_S. One with a number is cut at the same place after a crash, so only its bytes end
        it: then each step takes _MAX_ROUTING_S.
        """
        counts = Counts(received=len(batch.events))
        ids = MessageIds(time.time_ns() // 1_000_000)
        # This runs for every event: attributes become locals, and no call is made that can be avoided.
        decode, deduplication = self.decode, self.deduplication
        self.repairs.counts = counts.repaired
        unexamined_bytes = min(_LARGE_BODY, self.max_body_bytes)
        topic: str | None = None
        matches: Matches = ()
        last_route: Route | None = None
        column = Column()
        in_row = 0  # how many messages `last_route` has made one after another
        matched: dict[Route, int] = {}
        false_whens: list[Route] = []
        filtered = 0
        rest_of, is_taken = -1, False  # the event that came to an `otherwise` route last; whether another route fits it
        # The batch takes `room` bytes until the clock is asked, and then `rest`.
        room, rest = _CLOCK_BYTES, MAX_BATCH_BYTES - _CLOCK_BYTES
        end = time.thread_time() + _MAX_ROUTING_S
        tracing = self.table.tracing
        traces = None if tracing is None else tracing.begin()
        for index, event in enumerate(batch.events):
            if room <= 0:
                rest += room
                if rest > 0 and time.thread_time() > end:
                    if batch.number is None:
                        rest = 0
                    else:
                        yield
                        self.repairs.counts = counts.repaired
                        if tracing is not None and traces is not None:
                            tracing.resume(traces)
                        end = time.thread_time() + _MAX_ROUTING_S
                if rest <= 0:
                    counts.received = index
                    break
                room = min(rest, _CLOCK_BYTES)
                rest -= room
            if event.topic is not topic:  # mostly the same string object as the event before
                topic = event.topic
                if topic not in self.table.known:
                    rest, room = rest + room, 0  # ask the clock before the next event
                matches = self.table.matches(topic)
            if not matches:
                room -= _NO_MESSAGE_BYTES
                rest += _NO_MESSAGE_BYTES
                room = self._count_unmatched(batch, index, event, counts, room)
                continue
            try:
                if event.defect or len(event.body) > unexamined_bytes:
                    self._refuse_unusable(event)
                    rest, room = rest + room, 0  # ask the clock before the next event
                payload = decode(event)
            except DroppedBody:
                filtered += 1
                room -= _NO_MESSAGE_BYTES
                rest += _NO_MESSAGE_BYTES
                continue
            except BadEvent as error:
                room = _add_dead_letter(batch, index, self.dead_letter(event, error.reason, error.detail), room)
                counts.count_dead_lettered(error.reason)
                continue
            fits = False
            reason: DeadLetterReason | Literal["expired"] | None = None
            for route, captures in matches:
                try:
                    if route.is_plain:
                        message = route.run(event, payload, captures, ids)
                    else:
                        message = messages = None
                        if route.otherwise and rest_of != index:
                            rest_of, is_taken = index, fits or reason is not None
                        if not route.otherwise or not is_taken:
                            messages = route.messages(event, payload, captures, ids)
                        if messages is EXPIRED:
                            counts.route(route.name).expired += 1
                            reason = reason or "expired"
                            room -= _NO_MESSAGE_BYTES
                            rest += _NO_MESSAGE_BYTES
                            continue
                        if messages:
                            room -= batch.add(index, messages, "" if deduplication is None else route.name)
                            matched[route] = matched.get(route, 0) + 1
                            fits = True
                            continue
                    if message is None:
                        false_whens.append(route)
                        room -= _NO_MESSAGE_BYTES
                        rest += _NO_MESSAGE_BYTES
                        continue
                    size = len(message[1])
                    if size > FREE_MESSAGE_BYTES:
                        check_growth(size, event.size + event.grown)
                except ROUTE_ERRORS as error:
                    cause = route.dead_letter_reason(error)
                    if cause is None:
                        false_whens.append(route)
                    else:
                        letter = DeadLetter(event, cause.reason, cause.detail, route.name)
                        room = _add_dead_letter(batch, index, letter, room)
                        if reason is None or reason == "expired":
                            reason = cause.reason
                            counts.count_dead_lettered(reason)
                        counts.route(route.name).dead_lettered += 1
                    room -= _NO_MESSAGE_BYTES
                    rest += _NO_MESSAGE_BYTES
                    continue
                fits = True
                room -= size
                if route is not last_route:
                    if last_route is not None:
                        matched[last_route] = matched.get(last_route, 0) + in_row
                    last_route, column = route, batch.column(route.queue)
                    in_row = 0
                in_row += 1
                column.event_indexes.append(index)
                column.messages.append(message)
                if deduplication is not None:
                    column.routes.append(route.name)
            if not fits:
                if reason is None:
                    filtered += 1
                    continue
                if reason == "expired":
                    batch.expired.append(index)
                    continue
            if deduplication is not None:  # filtered and dropped events cost Redis no key
                deduplication.mark(event, payload)
        if last_route is not None:
            matched[last_route] = matched.get(last_route, 0) + in_row
        for route, events in matched.items():
            counts.route(route.name).matched += events
        for route, events in Counter(false_whens).items():
            counts.route(route.name).filtered += events
        if tracing is not None and traces is not None:
            tracing.end()
            counts.invalid_traces, batch.spans = traces.invalid, traces.spans
        counts.filtered, counts.expired = filtered, len(batch.expired)
        counts.enqueued = counts.received - counts.unmatched - counts.dead_lettered - filtered - counts.expired
        return counts

    def payload(self, event: Event) -> object:
        """Return the decoded body.

        Raises:
            BadEvent: the body is too large, or not of the format that `decode` names.
        """
        self._refuse_unusable(event)
        return self.decode(event)

    def dead_letter(self, event: Event, reason: DeadLetterReason, detail: str) -> DeadLetter:
        """Return the dead letter of an event that failed before any route."""
        return DeadLetter(event, reason, detail, is_body_usable=event.body_size <= self.max_body_bytes)

    def _refuse_unusable(self, event: Event) -> None:
        if event.body_size > self.max_body_bytes:
            raise BadEvent("too-large", f"the body has {event.body_size} bytes, max_body is {self.max_body_bytes}")
        if event.defect:
            raise BadEvent("decode", event.defect)

    def _count_unmatched(self, batch: Batch, index: int, event: Event, counts: Counts, room: int) -> int:
        if len(event.topic) > MAX_TOPIC:
            counts.count_dead_lettered("too-large")
            detail = f"the topic has {len(event.topic)} characters, more than the {MAX_TOPIC} that are matched"
            return _add_dead_letter(batch, index, self.dead_letter(event, "too-large", detail), room)
        if not self.dead_letter_unmatched:
            counts.unmatched += 1
            return room
        counts.count_dead_lettered("unmatched")
        detail = f"no route's topic fits {event.topic[:200]!r}"
        return _add_dead_letter(batch, index, self.dead_letter(event, "unmatched", detail), room)


def _add_dead_letter(batch: Batch, index: int, letter: DeadLetter, room: int) -> int:
    """Add the dead letter of the event at `index`; return how many of the `room` bytes are left, and less if the batch is full."""
    batch.dead_letters.append((index, letter))
    return room - letter.event.size if len(batch.dead_letters) < MAX_BATCH_DEAD_LETTERS else _FULL


def make(config: SourceConfig, table: RouteTable) -> Router:
    """Return the router of the source that `config` describes."""
    repairs = Repairs.of(config)
    decode = validated(repairs.decoder(source_kind(config)), table.check)
    if kinds := payloads.own_kinds(table.routes):
        decode = payloads.decoder({"": decode, **{kind: repairs.decoder(kind) for kind in kinds}})
    return Router(
        table=table,
        decode=decode,
        max_body_bytes=config.max_body,
        dead_letter_unmatched=config.dead_letter_unmatched,
        deduplication=table.deduplication,
        repairs=repairs,
    )
