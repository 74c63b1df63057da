"""Limits of the sink: a Redis that deletes keys when it is full, has little room, or keeps nothing on a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from bridge.errors import SinkUnavailable
from bridge.observe.logs import logger
from bridge.observe.masking import without_secrets
from bridge.sink import Memory, Sink
from bridge.sink.memory import Evicts
from bridge.sink.rights import Denial

log = logger()
_CHECK_INTERVAL_S: Final = 10.0
_SOON_S: Final = 1.0
_LETTERS_INTERVAL_S: Final = 600.0
_ALL_OLD: Final = "every dead letter was older than max_age"
#: The limits in words; `check --connect` says them too.
EVICTS_MESSAGES: Final = "the dramatiq Redis deletes messages when it is full (maxmemory-policy {policy})"
NOT_ALLOWED: Final = ": set noeviction there, or dramatiq: {allow_eviction: true} here"
EVICTS_OWN_KEYS: Final = (
    "when it is full, Redis deletes what the bridge remembers of written events:"
    " one that is delivered again may be written again"
)
NOT_DURABLE: Final = (
    "the dramatiq Redis writes no append-only file (appendonly no):"
    " when it dies, what it took since its last snapshot is lost, messages of written events among it"
)
LITTLE_ROOM: Final = (
    "a tenth of Redis's maxmemory, so that dead letters alone pause no source:"
    " raise maxmemory, or set max_size to this or less"
)


class SinkPromise:
    """Logs the limits of the sink, at the start and when it changes.

    `unready` says why the bridge is not ready, "" where it may be. A sink that evicts messages is not ready to take any,
    unless `evicting_allowed`, nor is one that denies what a write to one of `queues` needs. `counts_queues` says whether the
    admin server asks for their numbers. `max_size` is the configured bound of the dead letters, in bytes. Of several processes
    only the `first` one logs, and asks for rights.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        evicting_allowed: bool,
        max_size: int,
        first: bool,
        queues: Callable[[], Sequence[str]] = tuple,
        counts_queues: bool = False,
    ) -> None:
        self.unready = ""
        self._sink = sink
        self._queues = queues
        self._counts_queues = counts_queues
        #: The queues of which the rights are known, and those that are missing; None before they are.
        self._asked: Sequence[str] | None = None
        self._denials: list[Denial] = []
        self._evicts = ""
        self._evicting_allowed = evicting_allowed
        self._max_size = self._effective_size = max_size
        self._first = first
        self._policy: tuple[str, Evicts] | None = None
        self._unknown_logged = False
        self._version_known = not first
        self._durable: bool | None = None
        self._letters_due = 0.0
        self._tolerable = asyncio.Event()

    async def run(self) -> None:
        """Check for ever; the sink's own faults are said by its writers."""
        while True:
            try:
                await self._check()
                if self._first:
                    await self._delete_old_dead_letters()
            except SinkUnavailable:
                pass
            await asyncio.sleep(_CHECK_INTERVAL_S if self._tolerable.is_set() else _SOON_S)

    async def wait_tolerable(self) -> None:
        """Return once the policy is known, and none that the bridge is not ready with."""
        await self._tolerable.wait()

    async def _check(self) -> None:
        if self._first:
            await self._check_rights()
        try:
            memory = await self._sink.memory()
            self._check_eviction(memory)
            self._check_room(memory)
            await self._check_version()
            if self._first:
                self._check_durability(durable=await self._sink.is_durable())
        except PermissionError as error:
            self._log_unknown(error)

    def _log_unknown(self, error: PermissionError) -> None:
        self._judge(self._evicts)  # it may have shown before that it evicts
        if self._first and not self._unknown_logged:
            self._unknown_logged = True
            unknown = "how full it is, whether it evicts, and whether it keeps anything on a disk is not known"
            log.warning("sink.memory_unknown", cause=f"{error}: {unknown}")

    async def _check_rights(self) -> None:
        """Ask once, again for other queues, and until all that is needed is there: Redis counts each denial as an error."""
        queues = self._queues()
        if self._asked == queues and not any(denial.is_needed for denial in self._denials):
            return
        try:
            denials = await self._sink.missing_rights(queues, counts_queues=self._counts_queues)
        except PermissionError:
            denials = []  # this server does not tell: a write does
        # A user name that has no password is a token.
        denials = [replace(one, text=without_secrets(one.text), line=without_secrets(one.line)) for one in denials]
        for denial in denials:
            if denial not in self._denials:
                level = log.error if denial.is_needed else log.warning
                level("sink.rights_missing", cause=denial.text, remedy=denial.line)
        self._asked, self._denials = queues, denials

    def _judge(self, evicts: str) -> None:
        """Decide whether the sink can take messages."""
        self._evicts = evicts
        denied = next((f"{denial.text}: {denial.line}" for denial in self._denials if denial.is_needed), "")
        self.unready = denied or evicts
        (self._tolerable.clear if self.unready else self._tolerable.set)()

    async def _check_version(self) -> None:
        """Ask once: a server that is replaced by an older one is known at the next start."""
        if not self._version_known:
            if cause := await self._sink.outdated():
                log.warning("sink.old_server", cause=cause)
            self._version_known = True

    def _check_eviction(self, memory: Memory) -> None:
        cause = EVICTS_MESSAGES.format(policy=memory.policy) + ("" if self._evicting_allowed else NOT_ALLOWED)
        self._judge(cause if memory.evicts is Evicts.MESSAGES and not self._evicting_allowed else "")
        before, self._policy = self._policy, (memory.policy, memory.evicts)
        if self._policy == before or not self._first:
            return
        if memory.evicts is Evicts.MESSAGES:
            log.error("sink.evicts", policy=memory.policy, cause=cause)
        elif memory.evicts is Evicts.OWN_KEYS:
            log.warning("sink.evicts", policy=memory.policy, cause=EVICTS_OWN_KEYS)
        elif before is not None and before[1] is not Evicts.NOTHING:
            log.info("sink.evicts_nothing", policy=memory.policy)

    def _check_room(self, memory: Memory) -> None:
        before, self._effective_size = self._effective_size, memory.dead_letter_bytes(self._max_size)
        if self._first and before != self._effective_size < self._max_size:
            effective = self._effective_size
            log.warning("dead_letters.bounded", max_size=self._max_size, effective=effective, cause=LITTLE_ROOM)

    async def _delete_old_dead_letters(self) -> None:
        if (now := asyncio.get_running_loop().time()) < self._letters_due:
            return
        count = await self._sink.delete_old_dead_letters()
        self._letters_due = now + _LETTERS_INTERVAL_S
        if count:
            log.info("dead_letters.trimmed", bound="max_age", count=count, cause=_ALL_OLD)

    def _check_durability(self, *, durable: bool) -> None:
        if not durable and self._durable is not False:
            log.warning("sink.not_durable", cause=NOT_DURABLE)
        self._durable = durable
