"""The accounts of a child process that has died: what its last report says, brought to an end.

Events after its last report, of a second at most, are not counted: only a process that ends by itself reports its last.
"""

from __future__ import annotations

from bridge.model.state import ProcessState, SinkState, SourceState


class EarlierLives:
    """Adds up the lives of one process of a bridge, by source."""

    def __init__(self) -> None:
        self._sources: dict[str, SourceState] = {}
        self._sink = SinkState()
        self._cpu_s = 0.0
        self._lines_left_out = 0
        #: How many events each source had in its spool when the last life ended; the next one finds them there.
        self._in_spool: dict[str, int] = {}

    def add(self, ended: ProcessState) -> None:
        """Add the last report of a life that has ended.

        Its events in flight are returned where their broker redelivers them, and otherwise lost.
        """
        for name, state in self.with_present(ended).sources.items():
            state.counts.returned += state.in_flight - state.perishable
            state.counts.lost += state.perishable
            # None: the spool was not open yet, and holds what the life before has left.
            self._in_spool[name] = state.spooled or 0
            self._sources[name] = SourceState(
                state.type,
                state.guarantee,
                state.counts,
                connected=True,  # it says nothing of the present life's connection
                reconnects=state.reconnects,
                missed=state.missed,
                gaps=state.gaps,
                batches=state.batches,
                age=state.age,
            )
        self._cpu_s += ended.cpu_s
        self._lines_left_out += ended.lines_left_out
        self._sink.add(ended.sink)
        self._sink = SinkState(retries=self._sink.retries, writes=self._sink.writes)

    def with_present(self, present: ProcessState) -> ProcessState:
        """Return the state of the present life with the counts of all lives."""
        total = ProcessState(
            queues=present.queues,
            queues_cause=present.queues_cause,
            paused_routes=present.paused_routes,
            lag_s=present.lag_s,
            cpu_s=self._cpu_s + present.cpu_s,
            memory_bytes=present.memory_bytes,
            spool_fill=present.spool_fill,
            lines_left_out=self._lines_left_out + present.lines_left_out,
        )
        total.sink.add(present.sink)
        total.sink.add(self._sink)
        for name in {**self._sources, **present.sources}:
            earlier, now = self._sources.get(name), present.sources.get(name)
            known = now or earlier
            assert known is not None  # noqa: S101 - the name is of one of them
            state = SourceState(known.type, connected=now is not None)
            if now is not None:
                state.add(now)
            if earlier is not None:
                state.add(earlier)
                state.reconnects += now is not None
            self._join_spool(state, self._in_spool.get(name, 0), now.counts.recovered if now is not None else 0)
            total.sources[name] = state
        return total

    @staticmethod
    def _join_spool(state: SourceState, left: int, found: int) -> None:
        """Take the events that the last life has left in the spool for those that the present one has found there."""
        if state.spooled is None:
            state.spooled = left or None
            return
        state.counts.recovered -= min(left, found)
        # It was written, and its process died before it could say so.
        state.counts.enqueued += max(0, left - found)
