"""The connections of the admin server, bounded in number, time and bytes; one request each.

No client, however slow, large or frequent, takes more of the bridge than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.http import HttpVersion11

from bridge.admin.access import Refused
from bridge.admin.answers import Answer, Streamed
from bridge.errors import describe_error
from bridge.observe.logs import RepeatedLog, logger

log = logger()

#: So many connections are open at once.
MAX_CONNECTIONS: Final = 64
#: A connection lives so long.
LIFE_S: Final = 60.0
#: So many answers are streamed at once; these connections live as long as their clients want.
MAX_STREAMS: Final = 16
#: The head of its request has come within this time.
HEAD_S: Final = 10.0
#: A client may send so many bytes, most of them the head.
MAX_INPUT: Final = 64 * 1024
#: One that begins so may have a body, and send so many.
_WITH_BODY: Final = b"POST /try "
_MAX_INPUT_WITH_BODY: Final = 320 * 1024
#: So many bytes of answers wait for their clients, and at least one answer. That of 5,000 routes has 1.5 MiB.
MAX_OUTPUT: Final = 16 * 1024 * 1024
#: A line of the head has so many bytes at most: the address with its query, or a header.
_MAX_LINE: Final = 8_190
#: How long the rest of a small body is read, so that the client still reads the answer.
_LINGER_S: Final = 2.0

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Connection(web.RequestHandler):
    """One connection.

    `requested` is set once the head of its request is complete, `acts` while it changes something, `streams` once its answer
    is to be streamed. `output` is the size of its answer, of a stream that of the part which it is taking.
    """

    def __init__(self, server: BoundedServer, connections: Connections) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # aiohttp's own way to have none
            keepalive_timeout=HEAD_S,
            lingering_time=_LINGER_S,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_LINE,
            auto_decompress=False,
        )
        self._connections = connections
        self._input = 0
        self._beginning = b""
        self._timers: list[asyncio.TimerHandle] = []
        self.requested = False
        self.acts = False
        self.streams = False
        self.output = 0
        self._streaming: asyncio.Task[object] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is room."""
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        if self._connections.add(self):
            self._timers = [loop.call_later(HEAD_S, self._end_without_request), loop.call_later(LIFE_S, self.abort)]
        else:
            self.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Make room."""
        self._stop_timers()
        self._connections.remove(self)
        if self._streaming is not None:
            self._streaming.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, up to the bound."""
        if self._input < len(_WITH_BODY):
            self._beginning += data[: len(_WITH_BODY) - self._input]
        self._input += len(data)
        if self._input > (_MAX_INPUT_WITH_BODY if self._beginning == _WITH_BODY else MAX_INPUT):
            self.abort()
        else:
            super().data_received(data)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's own signature
    ) -> web.StreamResponse:
        """Answer a request that is no HTTP, or one that has met a fault of the bridge: without a traceback."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun")
        if status < 500:
            return response(Answer.text(status, "this is no request that the admin server understands"))
        self._connections.log_failure(exc)
        return response(Answer.text(500, "the bridge could not answer; its log says why"))

    def log_exception(self, *args: object, **kw: object) -> None:
        """Log nothing: `handle_error` does."""

    def respond(self, answer: Answer) -> web.Response:
        """Return the response for an answer, which counts until the connection ends."""
        self.output = len(answer.body)
        self._connections.bound_output(self)
        return response(answer)

    def begin_stream(self) -> None:
        """Take one of the places for streams, until the connection ends.

        Raises:
            Refused: there is none.
        """
        self._connections.check_streams()
        self.streams = True

    async def stream(self, request: web.BaseRequest, streamed: Streamed) -> web.StreamResponse:
        """Send the parts of an answer until they end; return the response.

        Raises:
            ConnectionError: the client has gone, or takes nothing.
        """
        made = web.StreamResponse(headers=streamed.all_headers)
        made.force_close()
        if request.version >= HttpVersion11:
            made.enable_chunked_encoding()
        self._stop_timers()
        self._streaming = asyncio.current_task()
        try:
            await self._take(made.prepare(request), request, streamed.stall_s)
            async for part in streamed.parts:
                self.output = len(part)
                self._connections.bound_output(self)
                await self._take(made.write(part), request, streamed.stall_s)
                self.output = 0
            await self._take(made.write_eof(), request, streamed.stall_s)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            # The end of the stream is missing then, by which the client knows.
            self._connections.log_failure(error)
            self.abort()
            raise ConnectionError("a stream has failed") from error
        finally:
            self._streaming = None
            streamed.on_end()
            await streamed.parts.aclose()
        return made

    async def _take(self, sending: Awaitable[object], request: web.BaseRequest, within_s: float) -> None:
        """Wait until the client has taken all but a few KiB of what is sent.

        Raises:
            ConnectionError: it has not, for too long.
        """
        try:
            async with asyncio.timeout(within_s):
                await sending
                await request.writer.drain()
        except TimeoutError:
            self.abort()
            raise ConnectionError("the client takes nothing") from None

    def abort(self) -> None:
        """End at once, whatever is not sent yet."""
        transport = self.transport
        self.force_close()
        if transport is not None:
            transport.abort()

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _end_without_request(self) -> None:
        if not self.requested:
            self.abort()


class BoundedServer(web.Server):
    """aiohttp's server, with connections that are bounded."""

    def __init__(self, handler: Handler) -> None:
        super().__init__(handler)
        self._bounded = Connections()

    def __call__(self) -> Connection:
        """Return the protocol of a new connection."""
        return Connection(self, self._bounded)

    def abort_all(self) -> None:
        """End all connections."""
        self._bounded.abort_all()


class Connections:
    """Those that are open, the oldest first."""

    def __init__(self) -> None:
        self._open: dict[Connection, None] = {}
        self._log = RepeatedLog()

    def add(self, connection: Connection) -> bool:
        """Take a connection in; return whether there is room.

        With too many the oldest one ends: a stranger who opens them all cannot keep the probes of an orchestrator out.
        """
        if len(self._open) >= MAX_CONNECTIONS:
            self._log.write("crowded", log.warning, "admin.crowded", connections=MAX_CONNECTIONS)
            oldest = next((each for each in self._open if not (each.acts or each.streams)), None)
            if oldest is None:
                return False
            self.remove(oldest)
            oldest.abort()
        self._open[connection] = None
        return True

    def check_streams(self) -> None:
        """Check that there is room for one stream more.

        Raises:
            Refused: there is none.
        """
        if sum(each.streams for each in self._open) >= MAX_STREAMS:
            words = f"{MAX_STREAMS} clients watch this bridge, and there is no place for another: end one of them"
            raise Refused(503, words, {"Retry-After": "5"})

    def bound_output(self, newest: Connection) -> None:
        """End the oldest of those that have not taken their answers yet, if these are too many bytes."""
        waiting = [each for each in self._open if each.output and each is not newest]
        total = newest.output + sum(each.output for each in waiting)
        for each in waiting:
            if total <= MAX_OUTPUT:
                return
            total -= each.output
            self.remove(each)
            each.abort()

    def remove(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self._open.pop(connection, None)

    def abort_all(self) -> None:
        """End all of them."""
        for connection in list(self._open):
            connection.abort()

    def log_failure(self, error: BaseException | None) -> None:
        """Log that a request has met a fault of the bridge."""
        cause = "unknown" if error is None else f"{type(error).__name__}: {describe_error(error)}"
        self._log.write(("failed", cause), log.error, "admin.failed", cause=cause)


def response(answer: Answer) -> web.Response:
    """Return an answer as aiohttp sends it; the connection ends with it."""
    made = web.Response(status=answer.status, body=answer.body, headers=answer.headers)
    made.force_close()
    return made
