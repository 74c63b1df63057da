"""The two ways to use paho-mqtt: as it is, and with messages taken from its socket before it sees them.

paho reads a byte, then a byte, then the rest of a packet, and acknowledges each message by a packet of its own. With
`fast_path` its socket is a `Tap`, which reads whole buffers and hands on what is no message: paho still
connects, authenticates, subscribes and pings.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.exception import MQTTException
from paho.mqtt.properties import VariableByteIntegers

from bridge.errors import Disconnected, describe_error
from bridge.model.event import Event
from bridge.sources.mqtt.packets import NO_TOPIC, NOT_MQTT, NOT_UTF8, PUBACK, details

#: Takes the messages out of bytes that were received; returns the other packets, and what it will take another time.
Take = Callable[[bytes], tuple[bytes, bytes]]

#: A full window of small messages; more would only keep the loop from its other work.
RECEIVE_BYTES: Final = 256 * 1024
#: How often paho is shown that the connection lives, while messages come that it never sees.
_SIGN_OF_LIFE_S: Final = 0.5
_PINGRESP: Final = b"\xd0\x00"
_RECORD_BYTES: Final = 16 * 1024
_UNREADABLE: Final = (MQTTException, ValueError, LookupError, struct.error)


class _Client(paho.Client):
    def __init__(self, take: Take, **options: Any) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, **options)
        self._take = take

    def excuse_ping(self) -> None:
        """Expect no answer to the last ping: nothing is read at the moment. The next ones are sent all the same."""
        self._ping_t = 0.0


class PlainClient(_Client):
    """paho as it is, except that a message survives properties that paho can't read: `take` can."""

    def acknowledge(self, packet_ids: list[bytes]) -> None:
        """Queue a PUBACK for each; what is for several has a PUBACK's beginning between them."""
        ids = PUBACK.join(packet_ids)
        for at in range(0, len(ids), 4):
            self.ack(int.from_bytes(ids[at : at + 2]), 1)

    def _handle_publish(self) -> Any:
        try:
            return super()._handle_publish()
        except _UNREADABLE:
            # Without this the broker would send the same message to each new connection, which would end it again.
            packet = bytes(self._in_packet["packet"])
            first = bytes((self._in_packet["command"],))
            others, _ = self._take(first + VariableByteIntegers.encode(len(packet)) + packet)
            if others:
                raise
            return paho.MQTT_ERR_SUCCESS


def event_of(source: str, message: paho.MQTTMessage) -> Event:
    """Return the event that the reader would have made of this message.

    Raises:
        Disconnected: the broker must not send such a message.
    """
    defect = ""
    try:
        topic = message.topic
    except UnicodeDecodeError:
        topic, defect = "", NOT_UTF8
    if not (topic or defect):
        raise Disconnected(f"{NOT_MQTT}: {NO_TOPIC}")
    first = bytes((0x30 | message.dup << 3 | message.qos << 1 | message.retain,))
    raw = first + (message.properties.pack() if message.properties is not None else b"\x00")
    token = message.mid.to_bytes(2) if message.qos > 0 else None
    now_ms = time.time_ns() // 1_000_000
    body = bytes(message.payload)
    return Event(source, topic, body, now_ms, token, raw, details, defect=defect, redelivered=message.dup)


class TappedClient(_Client):
    """paho without the messages: they go from its socket to `take`."""

    def acknowledge(self, packet_ids: list[bytes]) -> None:
        """Queue the same, as if it were one packet: paho knows what to do when that is sent in parts."""
        self._packet_queue(PUBACK[0], PUBACK + PUBACK.join(packet_ids), 0, 1)

    def _create_socket(self) -> Any:
        return Tap(super()._create_socket(), self._take)


class Tap:
    """What paho takes for its socket: `recv` gives what `pull` has received and `take` has left."""

    def __init__(self, real: Any, take: Take) -> None:
        self.real: socket.socket = real
        self.send = self.real.send
        self.close = self.real.close
        self.fileno = self.real.fileno
        self.setblocking = self.real.setblocking
        self._take = take
        self._left = b""
        self._later = b""
        self._end: OSError | None = None
        self._ended = False
        self._next_sign = 0.0

    @property
    def left(self) -> bool:
        """Whether there is something for paho to read, or the end to notice."""
        return self._ended or bool(self._left)

    @property
    def more(self) -> bool:
        """Whether there is something to `pull` that the real socket does not tell of."""
        return bool(self._later)

    def recv(self, size: int) -> bytes:
        """Return at most `size` bytes of what is left for paho; nothing at the end of the connection."""
        if self._left:
            part, self._left = self._left[:size], self._left[size:]
            return part
        if self._end is not None:
            raise self._end
        if self._ended:
            return b""
        raise BlockingIOError

    def pull(self) -> None:
        """Take what was left for later, or else what is there to receive."""
        if data := self._later or self._receive():
            others, self._later = self._take(data)
            self._left += others
            if not self._left and (now := time.monotonic()) >= self._next_sign:
                # The answer to its ping may stand behind a long backlog, and paho would end the connection.
                self._next_sign = now + _SIGN_OF_LIFE_S
                self._left = _PINGRESP

    def _receive(self) -> bytes:
        """Read once, or of TLS, which gives no more than a record at once, as many as fit."""
        secure = isinstance(self.real, ssl.SSLSocket)
        parts: list[bytes] = []
        room = RECEIVE_BYTES
        try:
            while room > 0:
                part = self.real.recv(_RECORD_BYTES if secure else room)
                parts.append(part)
                room -= len(part)
                if not (part and secure):
                    break
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            self._end = error
        self._ended = self._end is not None or b"" in parts
        return parts[0] if len(parts) == 1 else b"".join(parts)


@cache
def tap_problem() -> str:
    """Return why messages can't be tapped from this paho, or nothing.

    How it is done is private to paho. So it is tried, once per process, without a network.
    """
    message, pubacks = b"\x30\x04\x00\x01t\x00", b"\x40\x02\x00\x01\x40\x02\x00\x02"
    taken: list[bytes] = []

    def take(data: bytes) -> tuple[bytes, bytes]:
        taken.append(data)
        return data.replace(message, b""), b""

    wire = _Wire(b"\x20\x03\x00\x00\x00" + message + b"\xd0\x00")
    client = _Tried(Tap(wire, take), take, protocol=paho.MQTTv5, reconnect_on_failure=False, manual_ack=True)
    client.on_socket_register_write = lambda *_: None
    try:
        # Nothing listens here, in case paho should not ask us for the socket any more.
        client.connect("127.0.0.1", 1)
        client.tap.pull()
        while client.tap.left:
            if client.loop_read() is not paho.MQTT_ERR_SUCCESS:
                return "it doesn't read"
        if not client.is_connected() or taken != [wire.received]:
            return "it doesn't read from the tap"
        client.acknowledge([b"\x00\x01", b"\x00\x02"])
        while client.want_write():
            if client.loop_write() is not paho.MQTT_ERR_SUCCESS:
                return "it doesn't write"
        if not wire.sent.endswith(pubacks):
            return "it doesn't write what is queued"
    except Exception as error:  # noqa: BLE001 - whatever it is, paho is not what is expected
        return describe_error(error)
    return ""


class _Tried(TappedClient):
    def __init__(self, tap: Tap, take: Take, **options: Any) -> None:
        super().__init__(take, **options)
        self.tap = tap

    def _create_socket(self) -> Any:
        return self.tap


class _Wire:
    """A broker in a few bytes, which are there at once; it takes three bytes at a time."""

    def __init__(self, received: bytes) -> None:
        self.received = received
        self.sent = b""
        self._given = False

    def recv(self, _size: int) -> bytes:
        if self._given:
            raise BlockingIOError
        self._given = True
        return self.received

    def send(self, data: bytes) -> int:
        self.sent += data[:3]
        return len(data[:3])

    def close(self) -> None: ...

    def fileno(self) -> int:
        return -1

    def setblocking(self, _flag: object) -> None: ...
