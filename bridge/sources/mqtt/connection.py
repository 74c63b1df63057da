"""One paho-mqtt client on the event loop, which opens, reads and writes its socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties

from bridge.connecting.attempt import Attempt, Server
from bridge.errors import describe_error
from bridge.sources.mqtt.paho_client import PlainClient, Tap, TappedClient

_CLOSE_TIMEOUT_S: Final = 1.0
_LATE_S: Final = 1.0


class PahoConnection:
    """One connection of a paho client whose callbacks are set; calls `on_failed` once, with the cause of its end.

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
        self._socket_failed = False
        self._keepalive_task: asyncio.Task[None] | None = None
        # Called before paho closes the socket: another connection may get a closed descriptor's number at once.
        client.on_socket_close = lambda *_: self._detach()
        # With this set, paho queues its packets and the loop writes them: many PUBACKs in one go.
        client.on_socket_register_write = lambda *_: None

    async def open(self, attempt: Attempt, server: Server, **options: Any) -> None:
        """Open the socket, send CONNECT, and begin to read; paho's `on_connect` gets the answer.

        Raises:
            OSError, ValueError: it could not be opened.
        """
        self._socket = sock = self._client.opened = await attempt.open_tls(server)
        self._client.connect(server.host, server.port, **options)
        opened: Any = self._client.socket()
        if opened is None:
            raise ConnectionError("the connection was closed")
        self._tap = opened if isinstance(opened, Tap) else None
        self._fd = sock.fileno()
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # While reading is paused no answer to a ping can be seen. A peer whose TCP does not confirm our pings is dead.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 2000 * self._client.keepalive)
        self.resume_reading()
        self.flush()
        self._keepalive_task = asyncio.create_task(self._keep_alive(), name=f"source:{self._name}:keepalive")

    async def close(self, properties: Properties | None = None) -> None:
        """Send DISCONNECT, with these properties, if the connection stands, and close the socket, within 1 s."""
        if self._keepalive_task is not None:
            self._keepalive_task.cancel()
            await asyncio.gather(self._keepalive_task, return_exceptions=True)
        if not self._ended and self._socket is not None:
            with contextlib.suppress(Exception):
                self._client.disconnect(properties=properties)
                deadline = self._loop.time() + _CLOSE_TIMEOUT_S
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
        """Whether the socket is read; while it is not, received bytes stay in the kernel's buffer."""
        return self._reading

    def fail(self, cause: str) -> None:
        """End the connection: nothing is read or written any more."""
        self._detach()
        if not self._ended:
            self._ended = True
            self._on_failed(cause)

    def resume_reading(self) -> None:
        """Read from the socket, for the first time or after `pause_reading`."""
        if not self._reading and not self._ended and self._fd >= 0:
            self._loop.add_reader(self._fd, self._on_readable)
            self._reading = True
            if self._has_unreported_input():
                self._loop.call_soon(self._on_readable)

    def pause_reading(self) -> None:
        """Leave received bytes in the socket's buffer."""
        if self._reading:
            self._loop.remove_reader(self._fd)
            self._reading = False

    def flush(self) -> None:
        """Write the packets that paho has queued; the rest once the socket can take it."""
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
        except Exception as error:  # noqa: BLE001 - any error in paho ends the session, with its cause
            self.fail(describe_error(error))

    def _on_readable(self) -> None:
        try:
            while self._reading:
                if self._tap is not None:
                    self._tap.pull()
                if not self._let_paho_read():
                    return
                if not self._has_unreported_input():
                    break
        except Exception as error:  # noqa: BLE001 - as above
            self.fail(describe_error(error))

    def _has_unreported_input(self) -> bool:
        """Whether there is input that the selector doesn't report: in the tap, in the TLS layer, or before a reset."""
        if self._tap is not None and self._tap.has_deferred:
            return True
        # Bytes received before a reset must still be read, but uvloop reports nothing of a socket that has failed (libuv
        # stops its poll, observed). Reading SO_ERROR clears it, so the failure is remembered; `recv` still returns the end.
        if self._socket is not None and self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0:
            self._socket_failed = True
        if self._socket_failed:
            return True
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def _let_paho_read(self) -> bool:
        """Let paho read the packets for it, and write its answers; return whether the connection stands."""
        tap = self._tap
        while tap is None or tap.paho_can_read:
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
            # Often enough: brokers wait for one and a half keepalives.
            awake_at = self._loop.time() + min(1.0, (self._client.keepalive or 4) / 4)
            await asyncio.sleep(awake_at - self._loop.time())
            try:
                # The process stood still: the answer to the ping may wait in the socket, and uvloop has not read yet.
                is_late = self._loop.time() > awake_at + _LATE_S
                if is_late or not self._reading:
                    self._client.forget_pending_ping()
                code = self._client.loop_misc()
            except Exception as error:  # noqa: BLE001 - as above
                self.fail(describe_error(error))
                return
            if code is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                self.fail(paho.error_string(code))
                return
            self.flush()

    def _detach(self) -> None:
        """Take the socket away from the event loop."""
        self.pause_reading()
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)
            self._writing = False
            self._fd = -1
