"""The answers of the admin server, and its endpoints: each takes a request's parts, and knows nothing of sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Generic, Self, TypeVar
from urllib.parse import parse_qs

import msgspec

from bridge.admin import exposition
from bridge.admin.access import Refused
from bridge.admin.readiness import notes, problems
from bridge.admin.status import status
from bridge.model.control import Controlled, Reloaded, ReloadResult, UnknownName
from bridge.model.state import BridgeState
from bridge.observe.masking import without_secrets

T = TypeVar("T")

_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
_SHARED_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Server": "dramatiq-bridge",
    "X-Content-Type-Options": "nosniff",
}
#: The statuses of an order to reload.
_RELOAD_STATUS: Final[Mapping[ReloadResult, int]] = {"ok": 200, "refused": 409, "invalid": 422, "failed": 500}
#: A reload that takes longer goes on without its client, whose connection does not live for ever.
WAIT_S: Final = 50.0
#: Reloads that run and wait: one that waits loads the newest file, so no third is needed.
_MAX_RELOADS: Final = 2
#: An answer is made anew once so many times the processor's time that it took have passed: so answers take a fifth of it at most.
_PAUSES: Final = 4
#: A client of a stream takes each part within this time.
STALL_S: Final = 15.0
_MAX_PARAMETERS: Final = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """The status, the body and the headers of an answer."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @classmethod
    def of(cls, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> Self:
        """Return an answer with a body of this Content-Type."""
        return cls(status, body, {**_SHARED_HEADERS, "Content-Type": kind, **(headers or {})})

    @classmethod
    def text(cls, status: int, words: str, headers: Mapping[str, str] | None = None) -> Self:
        """Return an answer of words."""
        return cls.of(status, f"{words}\n".encode("utf-8", "backslashreplace"), _TEXT, headers)

    @classmethod
    def json(cls, status: int, value: object) -> Self:
        """Return an answer in JSON."""
        return cls.of(status, msgspec.json.encode(value) + b"\n", _JSON)


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer without an end of its own: its parts are sent as they come, until there are no more or the client has gone.

    The connection calls `parts.aclose()` in any case, and at once where the client goes. A generator that has not begun does
    nothing then: it acquires its resources itself, once it runs. A part that the client does not take within
    `stall_s` ends the connection; the next one is asked for only when it is taken. `on_end` is called in any case too.
    """

    content_type: str
    parts: AsyncGenerator[bytes, None]
    headers: Mapping[str, str] = field(default_factory=dict)
    on_end: Callable[[], None] = lambda: None
    stall_s: float = STALL_S

    @property
    def all_headers(self) -> dict[str, str]:
        """The headers with those of every answer."""
        return {**_SHARED_HEADERS, "Content-Type": self.content_type, **self.headers}


@dataclass(slots=True)
class _Paced(Generic[T]):
    """A value that is made anew when somebody asks, but takes a fifth of the processor's time at most.

    `make` also returns the processor's time that it took. Who asks a bridge of thousands of routes without a pause gets a
    value that is a moment old.
    """

    make: Callable[[], Awaitable[tuple[T, float]]]
    _value: T | None = None
    _next: float = 0.0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def get(self) -> T:
        async with self._lock:
            if self._value is None or time.monotonic() >= self._next:
                self._value, cost = await self.make()
                self._next = time.monotonic() + _PAUSES * cost
            return self._value


class Endpoints:
    """What the server shows of a bridge, and the orders that it takes."""

    def __init__(self, controlled: Controlled) -> None:
        self._controlled = controlled
        self._state = _Paced(self._take_state)
        self._status = _Paced(self._make_status)
        self._metrics = {each: _Paced(partial(self._make_metrics, openmetrics=each)) for each in (False, True)}
        self._reloads: set[asyncio.Task[Reloaded]] = set()

    async def live(self) -> Answer:
        """Answer /livez: whoever gets this knows that the event loop runs."""
        return Answer.text(200, "ok")

    async def ready(self) -> Answer:
        """Answer /readyz: a line for each cause of a bridge that is not ready, and for each pause."""
        state = await self._state.get()
        causes = problems(state)
        lines = ["not ready", *causes, *notes(state)] if causes else ["ready", *notes(state)]
        return Answer.text(503 if causes else 200, "\n".join(lines))

    async def metrics(self, accept: str) -> Answer:
        """Answer /metrics."""
        openmetrics = exposition.wants_openmetrics(accept)
        body = await self._metrics[openmetrics].get()
        return Answer.of(200, body, exposition.OPENMETRICS if openmetrics else exposition.TEXT)

    async def status(self) -> Answer:
        """Answer /status."""
        return Answer.of(200, await self._status.get(), _JSON)

    async def reload(self, query: str) -> Answer:
        """Have the configuration loaded again, and answer once it is over; with `wait=0` at once.

        Raises:
            Refused: the query has a mistake.
        """
        wait = parameters(query, "wait").get("wait", "1")
        if wait not in {"0", "1"}:
            raise Refused(400, "wait is 0 or 1")
        task = self._start_reload()
        if wait == "0" or task is None:
            return Answer.json(202, {"result": "running"})
        done, _ = await asyncio.wait({task}, timeout=WAIT_S)
        if not done:
            return Answer.json(202, {"result": "running", "cause": f"it takes longer than {WAIT_S:g} s, and goes on"})
        reloaded = task.result()
        if reloaded.result == "ok":
            return Answer.json(200, {"result": "ok", "changes": reloaded.changes})
        answer = {"result": reloaded.result, "cause": without_secrets(reloaded.cause), "changes": reloaded.changes}
        return Answer.json(_RELOAD_STATUS[reloaded.result], answer)

    async def pause(self, query: str, *, paused: bool) -> Answer:
        """Pause or resume the source or route `name`.

        Raises:
            Refused: the query has a mistake, or nothing has this name.
        """
        name = parameters(query, "name").get("name", "")
        if not name:
            raise Refused(400, "name the source or the route, as in ?name=orders")
        try:
            answer = await self._controlled.pause(name, paused=paused)
        except UnknownName as error:
            cause = "no source or route has this name"
            return Answer.json(404, {"cause": cause, "name": name, "known": error.known})
        return Answer.json(200, answer)

    def _start_reload(self) -> asyncio.Task[Reloaded] | None:
        """Start a reload, or return None where one waits already: it will load the newest file."""
        if len(self._reloads) >= _MAX_RELOADS:
            return None
        task = asyncio.create_task(self._reload(), name="admin:reload")
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)
        return task

    async def _reload(self) -> Reloaded:
        return await self._controlled.reload()

    async def _take_state(self) -> tuple[BridgeState, float]:
        begin = time.thread_time()
        state = self._controlled.state()
        return state, time.thread_time() - begin

    async def _make_status(self) -> tuple[bytes, float]:
        begin = time.thread_time()
        body = status(self._controlled.state())
        return body, time.thread_time() - begin

    async def _make_metrics(self, *, openmetrics: bool) -> tuple[bytes, float]:
        begin = time.thread_time()
        state = self._controlled.state()
        taken = time.thread_time() - begin
        body, rendered = await exposition.render(state, openmetrics=openmetrics)
        return body, taken + rendered


def parameters(query: str, *known: str) -> dict[str, str]:
    """Return the parameters of a query, each at most once.

    Raises:
        Refused: it has others, or cannot be read.
    """
    try:
        found = parse_qs(query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise Refused(400, "the query cannot be read") from None
    if not _is_known(found, known):
        raise Refused(400, f"the query takes {', '.join(known)}, {'each ' if len(known) > 1 else ''}once")
    return {name: values[0] for name, values in found.items()}


def _is_known(found: Mapping[str, Sequence[str]], known: Sequence[str]) -> bool:
    return all(name in known and len(values) == 1 for name, values in found.items())
