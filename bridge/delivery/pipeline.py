"""The pipeline of one source: receive -> route -> write -> acknowledge, and its shutdown.

Two tasks with a place for one batch between them: while one batch is written, the next one waits, a third is
routed, and new events gather for a fourth. Batches are written and acknowledged in the order
received, and an event is acknowledged only after the write that holds all its messages is confirmed.

With a spool there is a third task: batches that the sink does not take go to the disk instead, and all later ones go
behind them, until the third task has replayed them all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from bridge.backoff import Backoff
from bridge.config import SourceConfig
from bridge.delivery import tasks
from bridge.delivery.handover import Handover, taken_apart
from bridge.delivery.meter import SourceMeter
from bridge.delivery.observers import Observers
from bridge.delivery.policy import Delivery, DeliveryPolicy
from bridge.delivery.replay import Replay
from bridge.delivery.sink_context import SinkContext
from bridge.delivery.source_log import SourceLog
from bridge.errors import Disconnected
from bridge.garbage import collect_soon
from bridge.model.accounting import Accounts, Counts, Outcome
from bridge.model.batch import Batch, BatchSequence
from bridge.model.state import SourceState
from bridge.routing.router import Router
from bridge.sources.contract import Session, Source
from bridge.spool import Spool, SpoolDirectory

#: The backoff of a reconnect. At most 5 s in the first two minutes, so that a source is back within ten of a broker that has
#: restarted; then a minute on average for a neighbour that stays broken, since each attempt costs 2 ms of CPU.
_FIRST_RETRY_S: Final = 0.2
_MAX_RETRY_S: Final = 5.0
_LASTING_RETRY_S: Final = 90.0
#: A connection that lasted this long has succeeded: the next attempt follows soon again.
_STEADY_S: Final = 10.0
#: Between two appends to the spool: the events received meanwhile go with the next one.
_GATHER_S: Final = 0.02
_GATHER_DURABLE_S: Final = 0.004
#: At a stop: how long a task may take to end, a replayed batch to be written, and a disk to take the unfinished events.
#: After the deadline all steps together take 3 s at most: `bridge.process.ending` ends the process soon after.
_CANCEL_S: Final = 1.0
_REPLAY_S: Final = 2.0
_LATE_REPLAY_S: Final = 0.2
_DISK_S: Final = 2.0
_LATE_S: Final = 3.0
#: More than the parts of two batches.
_MOST_PARTS: Final = 4096


class SourcePipeline:
    """Moves the events of one source into the sink, which knows it as `name`.

    `run` connects, again and again, until `stop` or `retire` has ended it. `config` is that of the source, `router` has its
    routes; `guarantee` is its promise, for the log. `accounts` are those of its predecessor. `observers` see each batch that
    has its outcome.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        config: SourceConfig,
        router: Router,
        context: SinkContext,
        *,
        guarantee: str | None = None,
        accounts: Accounts | None = None,
        observers: Observers | None = None,
    ) -> None:
        self.name = name
        #: Whether a person has paused the source: it does not connect until it is resumed.
        self.paused = False
        #: Whether a stop has finished every event that was received, within its time.
        self.drained = False
        self._source = source
        self._log = SourceLog(name, source.name, config, guarantee)
        self._meter = SourceMeter(config)
        self._router = router
        self._context = context
        self._observers = observers or Observers()
        self._accounts = accounts or Accounts(redelivers=source.redelivers)
        self._policy = DeliveryPolicy(name, source, router, context, self._accounts)
        self._connected = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._retiring = False
        self._session: Session | None = None
        self._receiving: asyncio.Task[None] | None = None
        self._delivering: asyncio.Task[None] | None = None
        self._replaying: asyncio.Task[None] | None = None
        self._handover = Handover()
        self._finished = 0
        #: What is being written now, but for the spool's.
        self._delivered: Delivery | None = None
        #: `_delivered` is of its chain.
        self._handed_over: Delivery | None = None
        #: Deliveries that are being handed over, and those that were cut short: oldest first.
        self._not_handed_over: deque[Delivery] = deque()
        self._unfinished: deque[Delivery] = deque()
        #: Those to which a stop gives their outcome.
        self._spilling: list[Delivery] = []
        self._sequence = BatchSequence()
        #: With a spool.
        self._replay = Replay(self._policy, self._accounts, self._log, self._record)

    @property
    def source(self) -> str:
        """The name of the source in the configuration."""
        return self._source.name

    @property
    def spools_all(self) -> bool:
        """Whether the spool takes every event that the sink does not take."""
        return self._policy.spool is not None and not self._accounts.redelivers

    @property
    def accounts(self) -> Accounts:
        """Its accounts, which a successor goes on with."""
        return self._accounts

    @property
    def counts(self) -> Counts:
        """The numbers of the source's events by their fate, until now."""
        counts = Counts()
        counts.add(self._accounts.counts)
        if self._session is not None:
            counts.received += self._session.received
            counts.returned += self._session.dropped
        return counts

    def state(self) -> SourceState:
        """Return how the source stands, in one step: all its numbers belong together."""
        state = self._meter.state(self._session)
        state.counts = self.counts
        state.missed, state.gaps = self._source.missed.events, self._source.missed.gaps
        state.guarantee = self._log.guarantee
        state.pressure_cause = self._context.backpressure.cause(self.name)
        state.pressure = bool(state.pressure_cause)
        state.paused = self.paused
        waiting, once = 0, 0
        if self._session is not None:
            waiting, once = self._session.waiting, self._session.perishable
        unfinished = [delivery.batch.events for delivery in self._deliveries_without_outcome()]
        state.in_flight = waiting + sum(map(len, unfinished))
        once += sum(event.token is None for events in unfinished for event in events)
        state.perishable = once if self._source.redelivers else state.in_flight
        spool = self._policy.spool
        if spool is not None:
            state.spooled, state.spooled_bytes = spool.events - self._replay.settled, spool.size
        return state

    def _deliveries_without_outcome(self) -> Iterator[Delivery]:
        yield from (
            delivery
            for place in (*self._not_handed_over, *self._handover.items(), *self._unfinished, *self._spilling)
            for delivery in place.chain()
            if delivery.outcome is None
        )
        if self._handed_over is not None:
            yield from (delivery for delivery in self._handed_over.chain() if delivery.outcome is None)

    async def open_spool(self, directory: SpoolDirectory, *, known: int = 0) -> bool:
        """Keep events in `directory` that neither the sink takes nor the broker holds. Before `run`.

        Return whether the source has a spool: those whose broker keeps every event have none.

        `known` of its events were received in this process, by a source that was removed meanwhile.
        """
        if self._source.read is not None:
            self._policy.spool = spool = await directory.open(self.name, self._source.read)
            if spool is not None:
                self._accounts.recover(max(0, spool.events + spool.lost - known))
                if spool.lost:
                    self.count_lost(spool.lost)
                    self._log.spool_corrupt(spool.lost)
        return self._policy.spool is not None

    async def wait_connected(self) -> None:
        """Return once the source has been connected for the first time, or paused, or removed."""
        await self._connected.wait()

    async def run(self) -> None:
        """Connect and move events until `stop`; reconnect with jitter whenever the connection ends."""
        if self._policy.stopping:
            return
        if self.paused:
            self._connected.set()
        async with asyncio.TaskGroup() as self._group:
            self._delivering = tasks.start(self._group, self._deliver_loop(), f"source:{self.name}:deliver")
            if (spool := self._policy.spool) is not None:
                self._replaying = tasks.start(self._group, self._replay.run(spool), f"source:{self.name}:replay")
            if not self.paused:
                self._receiving = tasks.start(self._group, self._connect_loop(), f"source:{self.name}")

    async def stop(self, deadline: float) -> None:
        """Take nothing new, finish the received events until `deadline` (the loop's time), and end `run`.

        Events that are not finished by then stay with their broker where it redelivers them, or go to the spool where
        there is one, or are counted as lost. So do at once those that a paused route holds, unless they would be lost: these
        are written. A second call finds nothing to do.
        """
        self._retiring = False
        self._policy.ignores_pauses = self._policy.spool is None and not self._source.redelivers
        await self._end(max(deadline, asyncio.get_running_loop().time()))

    async def retire(self, deadline: float) -> None:
        """End as `stop` does, but keep the spool, and the events that would be lost: `succeed` takes them over."""
        self._retiring = True
        await self._end(max(deadline, asyncio.get_running_loop().time()))

    def succeed(self, other: SourcePipeline) -> None:
        """Go on where `other`, which has retired, has ended; before `run`."""
        self._accounts.redelivers = self._source.redelivers
        self._meter.succeed(other._meter)
        self._source.missed.add(other._source.missed)
        self._connected = other._connected
        self._policy.spool, other._policy.spool = other._policy.spool, None
        self._replay.succeed(other._replay)
        for kept in other._unfinished:
            kept.session = None  # it has ended, and nobody redelivers them
            self._handover.put_first(kept)
        other._unfinished.clear()

    def reroute(self, router: Router) -> None:
        """Route the batches that are received from now on by `router`."""
        self._router = self._policy.router = router

    async def pause(self) -> None:
        """Take nothing new, and close the connection once the received events are finished; don't connect until `resume`."""
        self.paused = True
        self._connected.set()
        await self._pause()

    def resume(self) -> None:
        """Connect again."""
        self.paused = False
        if (
            self._group is not None
            and not self._policy.stopping
            and (self._receiving is None or self._receiving.done())
        ):
            self._receiving = tasks.start(self._group, self._connect_loop(), f"source:{self.name}")

    def give_up_spool(self) -> Spool | None:
        """Return the spool of a stopped pipeline whose source is removed; nobody waits for its connection any more."""
        self._connected.set()
        spool, self._policy.spool = self._policy.spool, None
        return spool

    async def _end(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        self._policy.stopping = True
        self._context.pauses.wake()
        self._log.flush()  # while the connection is as its lines say
        try:
            # A timeout of its own for each: a step that swallows the one cancellation of its timeout does not prolong the next.
            for step in (self._pause, self._wait_received, self._handover.join):
                async with asyncio.timeout_at(deadline) as limit:
                    self._policy.on_held = partial(_expire, limit)
                    self._context.pauses.wake()
                    await step()
            self.drained = True
        except TimeoutError:
            await tasks.cancel(_running(self._receiving), within_s=_CANCEL_S)
        with suppress(TimeoutError):
            # A replay that no sink takes does not end.
            replay_s = _REPLAY_S if self._context.health.is_available(self.name) else _LATE_REPLAY_S
            async with asyncio.timeout_at(min(loop.time() + replay_s, max(deadline, loop.time()) + _LATE_REPLAY_S)):
                await self._replay.idle.wait()
        self._policy.on_held = lambda: None
        await tasks.cancel(_running(self._delivering, self._replaying), within_s=_CANCEL_S)
        await self._spool_or_count_unfinished(max(deadline, min(loop.time() + _DISK_S, deadline + _LATE_S)))
        self._log.flush()

    def count_lost(self, spooled: int) -> None:
        """Count so many spooled events as lost."""
        self._accounts.lose_spooled(spooled)

    def log_state(self) -> None:
        """Log how the source stands."""
        self._log.state(self.state())

    # The watchdog's view: see `bridge.process.watchdog.Watched`.

    @property
    def progress(self) -> int:
        """A number that changes whenever a batch is finished, or a part of one that is written in parts."""
        finished = (self._finished + self._replay.finished) * _MOST_PARTS
        if self._delivered is None and self._replay.delivery is None:
            return finished  # the watchdog asks hundreds of idle sources each second
        batches = [one.batch for one in (self._delivered, self._replay.delivery) if one is not None]
        return finished + sum(part.written is not None for batch in batches for part in batch.unsplit_parts())

    @property
    def has_pending_work(self) -> bool:
        """Whether events are pending, and neither the sink nor backpressure nor a stop explains the wait."""
        if not (self._is_busy or (self._session is not None and self._session.held > 0)):
            return False
        context = self._context
        waits = not context.health.is_available(self.name) or context.holds(self.name)
        return not (waits or self._policy.stopping)

    def reconnect(self, cause: str) -> None:
        """End the session, so that a new one is made."""
        if self._session is not None:
            self._session.fail(cause)

    @property
    def _is_busy(self) -> bool:
        return self._delivered is not None or not self._handover.empty() or self._policy.is_spooling

    # 1. Connect, receive, route, hand over.

    async def _connect_loop(self) -> None:
        backoff = Backoff(_FIRST_RETRY_S, _MAX_RETRY_S, _LASTING_RETRY_S)
        loop = asyncio.get_running_loop()
        while not self._must_end():
            connected_at, wait = None, 0.0
            try:
                async with self._source.connect() as session:
                    if self._must_end():
                        return
                    connected_at = loop.time()
                    self._session = session
                    self._accounts.redelivers = self._source.redelivers
                    self._connected.set()
                    self._meter.connected()
                    self._log.connected(len(self._router.table.routes), session.guarantee)
                    await self._receive_loop(session)
                self._log.closed()
                self._meter.closed()
            except Disconnected as error:
                if connected_at is not None:
                    backoff.interrupt()
                    if loop.time() - connected_at > _STEADY_S:
                        backoff.reset()
                wait = max(backoff.next(denied=error.denied), error.retry_s)
                self._meter.disconnected(error.cause)
                self._log.disconnected(error.cause, wait, was_connected=connected_at is not None)
            finally:
                if self._session is not None:
                    # Also where closing was cut short. Then only events that nobody redelivers still wait in it.
                    self._session.fail("the connection was closed")
                    if self._policy.stopping:
                        await self._keep_waiting(self._session)
                    waiting, dropped = self._session.waiting, self._session.dropped
                    self._accounts.receive(self._session.received, returned=dropped, lost=waiting)
                self._session = None
            collect_soon()
            if not self._must_end():
                await asyncio.sleep(wait)

    async def _receive_loop(self, session: Session) -> None:
        """Receive and route until the session is paused and all its batches have their outcome.

        Raises:
            Disconnected: the session has ended; the events that it delivered are still written.
        """
        while events := await session.receive():
            self._meter.received(len(events))
            await self._hand_over(Delivery(session, Batch(events, self._sequence), router=self._router))
        await self._handover.join()

    async def _keep_waiting(self, session: Session) -> None:
        """Keep the events that a session still has which has ended: for the spool, or a successor. Nothing waits here."""
        while session.waiting:
            batch = Batch(await session.receive(), self._sequence)
            self._not_handed_over.append(Delivery(session, batch, router=self._router))

    async def _hand_over(self, delivery: Delivery) -> None:
        """Route the delivery and hand it over, then its rest."""
        waiting = self._not_handed_over
        waiting.append(delivery)
        while waiting:
            first = waiting[0]
            if not self._policy.routes_later(first):
                first.set_routed((first.router or self._router).route(first.batch))
            if first.rest is not None:
                waiting.append(first.rest)
                first.rest = None
            await self._handover.put(first)
            waiting.popleft()
            if waiting:
                await asyncio.sleep(0)  # the other sources' turn

    def _must_end(self) -> bool:
        # Asked after each connect, because a library's connect can swallow a cancellation.
        task = asyncio.current_task()
        return self.paused or self._policy.stopping or (task is not None and task.cancelling() > 0)

    # 2. Decide, count, acknowledge.

    async def _deliver_loop(self) -> None:
        while True:
            self._handed_over = handed_over = await self._handover.get()
            try:
                for delivery in handed_over.chain():
                    self._delivered = delivery
                    outcome = await self._policy.decide(delivery)
                    self._record(delivery, outcome)
                    await self._acknowledge(delivery, outcome)
                    self._finished += 1
            except asyncio.CancelledError:
                self._unfinished.extendleft(one for one in reversed(taken_apart(handed_over)) if one.outcome is None)
                raise
            finally:
                self._handover.task_done()
                self._handed_over = self._delivered = None
            if self._policy.is_spooling:
                await asyncio.sleep(_GATHER_DURABLE_S if self._source.redelivers else _GATHER_S)

    def _record(self, delivery: Delivery, outcome: Outcome) -> None:
        delivery.outcome = outcome
        self._accounts.record(delivery.batch, delivery.counts, outcome)
        for span in delivery.batch.spans:
            span.end(outcome.value)
        if outcome is Outcome.WRITTEN:
            self._meter.written(delivery.batch)
        if self._observers.present:
            self._observers.written(delivery.batch, outcome, redelivers=self._accounts.redelivers)
        self._log.written(delivery.batch)

    async def _acknowledge(self, delivery: Delivery, outcome: Outcome) -> None:
        """Acknowledge a batch that is written, spooled, or lost, which frees the window; never one that is redelivered."""
        if delivery.session is None or outcome is Outcome.RETURNED:
            return
        if outcome is Outcome.LOST and self._source.redelivers:
            return
        await delivery.session.acknowledge(delivery.batch.events)
        self._meter.acknowledged(delivery.session)

    # Stop.

    async def _pause(self) -> None:
        """Pause the session; an attempt to connect is given up, and so is the wait for the next one."""
        receiving = self._receiving
        while self._session is None and receiving is not None and not receiving.done():
            await tasks.cancel([receiving], within_s=0.2)
        if self._session is not None:
            await self._session.pause()

    async def _wait_received(self) -> None:
        """Return once nothing is received any more."""
        if self._receiving is not None:
            await asyncio.wait([self._receiving])

    async def _spool_or_count_unfinished(self, end: float) -> None:
        """Count each unfinished event as spooled, returned or lost, until `end` (the loop's time).

        Once the disk has had its time (it may hang), everything without a confirmed append counts as returned or lost.
        Lost ones are kept for the successor of a pipeline that retires.
        """
        while not self._handover.empty():
            self._unfinished.append(self._handover.get_nowait())
        for waiting in self._not_handed_over:
            self._unfinished.extend(taken_apart(waiting))
        self._not_handed_over.clear()
        unfinished, self._unfinished = self._unfinished, deque()
        self._spilling += unfinished
        try:
            async with asyncio.timeout_at(end):
                for delivery in unfinished:
                    self._record_unless_kept(delivery, await self._policy.spill_at_stop(delivery))
        except TimeoutError:
            for delivery in unfinished:
                if delivery.outcome is None and delivery not in self._unfinished:
                    self._record_unless_kept(delivery, Outcome.LOST)
        except asyncio.CancelledError:
            # Another task of the process has failed. What is left is for the second stop.
            left = [one for one in unfinished if one.outcome is None and one not in self._unfinished]
            self._unfinished.extend(left)
            raise
        finally:
            self._spilling = [delivery for delivery in self._spilling if delivery not in unfinished]

    def _record_unless_kept(self, delivery: Delivery, outcome: Outcome) -> None:
        if outcome is Outcome.LOST and self._retiring and not self._accounts.are_redelivered(delivery.batch.events):
            self._spilling.remove(delivery)
            self._unfinished.append(delivery)
        else:
            self._record(delivery, outcome)


def _expire(limit: asyncio.Timeout) -> None:
    if not limit.expired():
        limit.reschedule(asyncio.get_running_loop().time())


def _running(*given: asyncio.Task[None] | None) -> Sequence[asyncio.Task[None]]:
    return [task for task in given if task is not None]
