"""The admin server: listens, decides which request may have which answer, and never harms the bridge that it speaks of.

It shows `/livez`, `/readyz`, `/metrics`, `/status`, `/tap` and the page at `/`, and takes the orders `/reload`, `/pause` and `/resume`. This module is
imported only where a bridge has an admin server: aiohttp and prometheus-client are loaded with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, cast

from aiohttp import web

from bridge.admin.access import Access, Refused
from bridge.admin.answers import Answer, Endpoints, Streamed
from bridge.admin.assets import FILES, Asset, assets
from bridge.admin.connections import BoundedServer, Connection
from bridge.admin.feed import Feed
from bridge.admin.listening import BACKLOG, Listener
from bridge.admin.tap import TapEndpoint
from bridge.admin.workshop import MAX_TRIAL, WorkshopEndpoints
from bridge.config.admin import AdminSettings
from bridge.errors import describe_error
from bridge.model.control import Controlled
from bridge.observe.logs import RepeatedLog, logger

log = logger()

#: An address that is taken is tried again after this time, and a Unix socket's file is looked at.
RETRY_S: Final = 30.0
#: No order needs a body; a client may send one that is small.
_MAX_BODY: Final = 4_096


async def _until_gone(listener: Listener) -> None:
    while True:
        await asyncio.sleep(RETRY_S)
        if not listener.in_place:
            return


def _log_unavailable(repeated: RepeatedLog, settings: AdminSettings, cause: str) -> None:
    repeated.write(cause, log.warning, "admin.unavailable", address=settings.listen, cause=cause, retry_in=RETRY_S)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """An endpoint: its answer, the methods that it takes, whether it changes something, and whether browsers are checked.

    One that `streams` takes a place for a stream before it answers.
    """

    answer: Callable[[web.BaseRequest, str], Awaitable[Answer | Streamed]]
    methods: tuple[str, ...] = ("GET", "HEAD")
    changes: bool = False
    checked: bool = True
    streams: bool = False
    max_body: int = _MAX_BODY


class AdminServer:
    """The server of one bridge."""

    def __init__(self, settings: AdminSettings, controlled: Controlled) -> None:
        self._settings = settings
        self._access = Access(settings)
        self._repeated = RepeatedLog()
        self._server = BoundedServer(self._handle)
        shown = Endpoints(controlled)
        self._taps = TapEndpoint(controlled)
        order = partial(_Endpoint, methods=("POST",), changes=True)
        # Exact paths: no other spelling of one is any of them.
        self._endpoints: Mapping[str, _Endpoint] = {
            # An orchestrator and a Prometheus come by the address of a pod.
            "/livez": _Endpoint(lambda _request, _query: shown.live(), checked=False),
            "/readyz": _Endpoint(lambda _request, _query: shown.ready(), checked=False),
            "/metrics": _Endpoint(
                lambda request, _query: shown.metrics(",".join(request.headers.getall("Accept", []))), checked=False
            ),
            "/status": _Endpoint(lambda _request, _query: shown.status()),
            "/tap": _Endpoint(
                lambda request, query: self._taps.tap(query, contents=self._may_see_contents(request)),
                methods=("GET",),
                streams=True,
            ),
            "/reload": order(lambda _request, query: shown.reload(query)),
            "/pause": order(lambda _request, query: shown.pause(query, paused=True)),
            "/resume": order(lambda _request, query: shown.pause(query, paused=False)),
        }
        self._endpoints = {**self._endpoints, **self._of_page(controlled)}

    def _of_page(self, controlled: Controlled) -> dict[str, _Endpoint]:
        feed, tools = Feed(controlled.state), WorkshopEndpoints(controlled.workshop)

        async def letters(request: web.BaseRequest, query: str) -> Answer:
            return await tools.letters(query, with_contents=self._may_see_contents(request))

        async def try_event(request: web.BaseRequest, _query: str) -> Answer:
            try:
                body = await request.read()
            except ConnectionError:
                raise Refused(400, "the body is not whole") from None  # for a client that has gone
            return await tools.try_event(body)

        return {
            "/events": _Endpoint(lambda _request, _query: self._follow(feed), methods=("GET",), streams=True),
            "/dead-letters": _Endpoint(letters),
            "/dead-letters/retry": _Endpoint(lambda _request, query: tools.retry(query), ("POST",), changes=True),
            "/try": _Endpoint(try_event, methods=("POST",), max_body=MAX_TRIAL),
            **{path: _Endpoint(partial(_send, asset)) for path, asset in assets().items()},
        }

    async def serve(self) -> None:
        """Serve until this is cancelled; an address that is not to be had is logged, and tried again."""
        settings = self._settings
        while True:
            try:
                listener = await Listener.open(settings)
            except OSError as error:
                cause = error.strerror or describe_error(error)
                _log_unavailable(self._repeated, settings, cause)
                await asyncio.sleep(RETRY_S)
                continue
            async with self.listening(listener):
                log.info("admin.listening", address=settings.listen, changes=self.changes)
                await _until_gone(listener)
            _log_unavailable(self._repeated, settings, "somebody has removed its file, which is made again")

    def use(self, settings: AdminSettings) -> None:
        """Ask for another token from now on, and allow other names; the address stays."""
        before, self._access = self._access, Access(settings)
        if not self._access.has_token_of(before):
            self._taps.revoke()

    async def finish(self) -> None:
        """Wait a moment for clients that get their last lines; before the end of `serve`."""
        await self._taps.finish()

    @property
    def changes(self) -> str:
        """How something can be changed, for the log."""
        return self._access.changes

    @asynccontextmanager
    async def listening(self, listener: Listener) -> AsyncIterator[None]:
        """Serve on sockets until the context is left."""
        loop = asyncio.get_running_loop()
        make = loop.create_server if listener.path is None else loop.create_unix_server
        async with AsyncExitStack() as ends:
            ends.callback(listener.close)
            ends.callback(self._server.abort_all)  # without a wait for them: a client may read slowly
            for each in listener.sockets:
                ends.callback((await make(self._server, sock=each, backlog=BACKLOG)).close)
            yield

    async def _follow(self, feed: Feed) -> Streamed:
        return Streamed("text/event-stream", feed.follow({"access": self._access.kind}))

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        connection = cast("Connection", request.protocol)
        connection.requested = True
        try:
            endpoint = self._admit(request, path, query)
            connection.acts = endpoint.changes
            if endpoint.changes:
                log.info("admin.order", order=path[1:], peer=_peer(request))
            if endpoint.streams:
                connection.begin_stream()
            answer = await endpoint.answer(request, query)
        except Refused as refused:
            answer = Answer.text(refused.status, refused.words, refused.headers)
        finally:
            connection.acts = False
        if isinstance(answer, Streamed):
            return await connection.stream(request, answer)
        return connection.respond(answer)

    def _may_see_contents(self, request: web.BaseRequest) -> bool:
        return self._access.may_see_contents(request.headers.getall("Authorization", []))

    def _admit(self, request: web.BaseRequest, path: str, query: str) -> _Endpoint:
        """Return the endpoint of a request.

        Raises:
            Refused: it has none, or may not be carried out.
        """
        endpoint = self._endpoints.get(path)
        headers = request.headers
        try:
            if endpoint is None or endpoint.checked:
                self._access.check_names(headers.getall("Host", []), headers.getall("Origin", []), _local(request))
            if endpoint is None:
                shown = (path for path in self._endpoints if not path.startswith(FILES))
                raise Refused(404, f"there is nothing here; there are {', '.join(shown)}")
            if request.method not in endpoint.methods:
                allowed = ", ".join(endpoint.methods)
                raise Refused(405, f"{path} takes {allowed}", {"Allow": allowed})
            self._access.check_query(query)
            if endpoint.changes:
                self._access.check_change(headers.getall("Authorization", []))
            if "Transfer-Encoding" in headers or (request.content_length or 0) > endpoint.max_body:
                takes = (
                    f"{path} takes at most {MAX_TRIAL >> 10} KiB"
                    if endpoint.max_body > _MAX_BODY
                    else "the admin server takes no body"
                )
                raise Refused(413, takes)
        except Refused as refused:
            if refused.status in {400, 401, 403}:
                self._log_refused(refused, request, path if endpoint is not None else None)
            raise
        return endpoint

    def _log_refused(self, refused: Refused, request: web.BaseRequest, path: str | None) -> None:
        kind = (refused.status, path)
        self._repeated.write(kind, log.warning, "admin.refused", path=path, peer=_peer(request), cause=refused.words)


async def _send(asset: Asset, request: web.BaseRequest, _query: str) -> Answer:
    return asset.answer(request.headers.get("If-None-Match", ""))


def _local(request: web.BaseRequest) -> str:
    """Return the address of this end, "" for a Unix socket."""
    return _first(request.transport.get_extra_info("sockname")) if request.transport is not None else ""


def _peer(request: web.BaseRequest) -> str | None:
    """Return the address of the other end, None for a Unix socket."""
    return _first(request.transport.get_extra_info("peername")) or None if request.transport is not None else None


def _first(address: object) -> str:
    return str(address[0]) if isinstance(address, tuple) and address else ""
