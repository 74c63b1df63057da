"""paho-mqtt on the event loop: one client, its socket read and written by the loop; a thread only connects."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, Final

from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode

from bridge.errors import describe_error
from bridge.sources.mqtt.paho_client import PlainClient, Tap, TappedClient

_CLOSE_S: Final = 1.0


class PahoConnection:
    """One connection of a paho client that has its callbacks set; `on_failed` hears why it ended, once.

    paho's callbacks run on the event loop's thread.
    """

    def __init__(self, client: PlainClient | TappedClient, name: str, on_failed: Callable[[str], None]) -> None:
        self._client = client
        self._name = name
        self._on_failed = on_failed
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._tap: Tap | None = None
        self._fd = -1
        self._reading = False
        self._writing = False
        self._ended = False
        self._broken = False
        self._misc: asyncio.Task[None] | None = None
        # Before paho closes the socket: a closed descriptor may be another connection's a moment later.
        client.on_socket_close = lambda *_: self._detach()
        # With this set, paho queues what it sends, and the loop writes it: many PUBACKs in one go.
        client.on_socket_register_write = lambda *_: None

    async def open(self, host: str, port: int, **options: Any) -> None:
        """Open the socket, send CONNECT, and begin to read; the answer comes by paho's `on_connect`.

        Raises:
            OSError, ValueError: it could not be opened.
        """
        await self._in_thread(lambda: self._client.connect(host, port, **options))
        opened: Any = self._client.socket()
        if opened is None:
            raise ConnectionError("the connection was closed")
        self._tap = opened if isinstance(opened, Tap) else None
        self._socket = sock = opened.real if isinstance(opened, Tap) else opened
        self._fd = sock.fileno()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # While nothing is read nothing can answer: then a link is dead whose other end does not take our pings.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 2000 * self._client.keepalive)
        self.read_again()
        self.flush()
        self._misc = asyncio.create_task(self._keep_alive(), name=f"source:{self._name}:keepalive")

    async def close(self) -> None:
        """Say goodbye where the connection stands, and close the socket, within 1 s."""
        if self._misc is not None:
            self._misc.cancel()
            await asyncio.gather(self._misc, return_exceptions=True)
        if not self._ended and self._socket is not None:
            with contextlib.suppress(Exception):
                self._client.disconnect()
                deadline = self._loop.time() + _CLOSE_S
                while self._client.want_write() and self._loop.time() < deadline:
                    self._client.loop_write()
                    await asyncio.sleep(0.005)
        self._ended = True
        self._detach()
        with contextlib.suppress(Exception):
            if self._socket is not None:
                self._socket.close()

    @property
    def reading(self) -> bool:
        """Whether what comes is read, or left to the socket's buffers."""
        return self._reading

    def fail(self, cause: str) -> None:
        """End the connection: nothing is read or written any more."""
        self._detach()
        if not self._ended:
            self._ended = True
            self._on_failed(cause)

    def read_again(self) -> None:
        """Read what comes, after `stop_reading` or for the first time."""
        if not self._reading and not self._ended and self._fd >= 0:
            self._loop.add_reader(self._fd, self._on_readable)
            self._reading = True
            if self._more():
                self._loop.call_soon(self._on_readable)

    def stop_reading(self) -> None:
        """Leave what comes to the socket's buffers."""
        if self._reading:
            self._loop.remove_reader(self._fd)
            self._reading = False

    def flush(self) -> None:
        """Write what paho has queued; the rest when the socket can take it."""
        if self._ended or self._fd < 0:
            return
        try:
            if self._client.want_write():
                self._client.loop_write()
            if self._fd < 0:
                self.fail("the connection was lost")
            elif self._client.want_write() != self._writing:
                self._writing = not self._writing
                if self._writing:
                    self._loop.add_writer(self._fd, self.flush)
                else:
                    self._loop.remove_writer(self._fd)
        except Exception as error:  # noqa: BLE001 - whatever paho does, the session ends and says why
            self.fail(describe_error(error))

    async def _in_thread(self, connect: Callable[[], object]) -> None:
        """Run paho's blocking calls (DNS, TCP, TLS) in a thread of its own, before the loop takes over.

        A daemon, and none of the loop's pool: a server that says nothing holds up neither the others nor the exit.
        """
        done = self._loop.create_future()

        def finish(error: BaseException | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        def run() -> None:
            error: BaseException | None = None
            try:
                connect()
            except BaseException as raised:  # noqa: BLE001 - raised again on the loop's thread
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(finish, error)

        threading.Thread(target=run, name=f"source:{self._name}:connect", daemon=True).start()
        await done

    def _on_readable(self) -> None:
        try:
            while self._reading:
                if self._tap is not None:
                    self._tap.pull()
                if not self._let_paho_read():
                    return
                if not self._more():
                    break
        except Exception as error:  # noqa: BLE001 - as above
            self.fail(describe_error(error))

    def _more(self) -> bool:
        """Whether there is something to read that the socket does not tell of: it is here, or TLS has it."""
        if self._tap is not None and self._tap.more:
            return True
        # What stands before a reset is read first, and under uvloop nothing is told of a socket that has failed after
        # that (libuv stops its poll, observed). Asking takes the error away; the socket's end stays to be read.
        if self._socket is not None and self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0:
            self._broken = True
        if self._broken:
            return True
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def _let_paho_read(self) -> bool:
        """Let paho read what there is for it, and write its answers; say whether the connection stands."""
        tap = self._tap
        while tap is None or tap.left:
            code = self._client.loop_read()
            if code is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                self.fail(paho.error_string(code))
                return False
            if tap is None:
                break
        self.flush()
        return not self._ended

    async def _keep_alive(self) -> None:
        while not self._ended:
            # Brokers wait for half a keepalive more.
            await asyncio.sleep(min(1.0, (self._client.keepalive or 4) / 4))
            try:
                if not self._reading:
                    self._client.excuse_ping()
                code = self._client.loop_misc()
            except Exception as error:  # noqa: BLE001 - as above
                self.fail(describe_error(error))
                return
            if code is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                self.fail(paho.error_string(code))
                return
            self.flush()

    def _detach(self) -> None:
        self.stop_reading()
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)
            self._writing = False
            self._fd = -1
