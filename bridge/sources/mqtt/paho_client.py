"""The two ways to use paho-mqtt: unchanged, or with the messages taken from its socket before paho sees them.

paho reads a byte, then a byte, then the rest of a packet, and acknowledges each message by a packet of its own. With
`fast_path` its socket is a `Tap`, which reads whole buffers and passes only the other packets on to paho. paho still
connects, authenticates, subscribes and pings.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, Final, Self

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.exception import MQTTException
from paho.mqtt.properties import VariableByteIntegers

from bridge.errors import Disconnected, describe_error
from bridge.model.event import Event
from bridge.sources.mqtt.oversized import NO_TOPIC, NOT_UTF8
from bridge.sources.mqtt.packets import MAX_OTHER_BYTES, MAX_PACKET_BYTES, NOT_MQTT, PUBACK
from bridge.sources.mqtt.promise import answered_in_3_1_1, refusal
from bridge.sources.mqtt.properties import details

#: Takes the messages out of received bytes; returns the packets for paho, and the bytes deferred until there is room.
MessageExtractor = Callable[[bytes], tuple[bytes, bytes]]

#: A full window of small messages; more would only keep the loop from its other work.
RECEIVE_BYTES: Final = 256 * 1024
_PINGRESP_INTERVAL_S: Final = 0.5
_PINGRESP: Final = b"\xd0\x00"
#: In the variable header of CONNECT, behind the protocol's name (2 + 4) and version (1).
_CONNECT_FLAGS: Final = 7
_HAS_PASSWORD: Final = 0x40
_PUBLISH: Final = 3
_TLS_RECORD_BYTES: Final = 16 * 1024
_UNREADABLE: Final = (MQTTException, ValueError, LookupError, struct.error)


class _BaseClient(paho.Client):
    #: How many packets may wait for the socket: 4 MiB of memory where one has up to 1,000 acknowledgements, else 40 MiB.
    _max_unsent: ClassVar[int]

    def __init__(self, extract: MessageExtractor, max_packet_bytes: int = MAX_PACKET_BYTES, **options: Any) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, **options)
        self._extract = extract
        self._max_packet_bytes = max_packet_bytes
        self._lone_password: bytes | None = None
        #: The socket that paho gets as its own when it connects.
        self.opened: Any = None

    def authenticate(self, username: str, password: str) -> None:
        """Send these with CONNECT, unless empty; MQTT 5 knows a password without a username, paho does not."""
        if username:
            self.username_pw_set(username, password or None)
        elif password:
            self._lone_password = password.encode()

    def _create_socket(self) -> Any:
        return self.opened

    def _packet_queue(self, command: Any, packet: Any, *others: Any, **options: Any) -> Any:
        if command == paho.CONNECT and self._lone_password is not None:
            packet = _with_password(packet, self._lone_password)
        return super()._packet_queue(command, packet, *others, **options)

    def _handle_connack(self) -> Any:
        # paho retries some refusals by itself, and reports others as an error of the protocol.
        connack = bytes(self._in_packet["packet"])
        v5 = self._protocol == paho.MQTTv5
        cause = answered_in_3_1_1(connack) if v5 else ""
        if not cause and len(connack) > 1:
            cause = refusal(connack[1], self._client_id.decode() or None, v5=v5)
        if cause:
            raise Disconnected(cause)
        return super()._handle_connack()

    @property
    def unsent_are_too_many(self) -> bool:
        """Whether the broker leaves more acknowledgements untaken than any delay explains; the kernel holds many more."""
        return len(self._out_packet) > self._max_unsent

    def forget_pending_ping(self) -> None:
        """Expect no answer to the last ping, since nothing is read at the moment; later pings are sent as usual."""
        self._ping_t = 0.0


def _with_password(connect: bytes, password: bytes) -> bytearray:
    """Return a CONNECT with `password` at its end, where it belongs, and its flag."""
    length = VariableByteIntegers.decode(connect[1:])[0]
    body = bytearray(connect[-length:])
    body[_CONNECT_FLAGS] |= _HAS_PASSWORD
    body += len(password).to_bytes(2) + password
    return bytearray(connect[:1] + VariableByteIntegers.encode(len(body)) + body)


class PlainClient(_BaseClient):
    """paho unchanged, except that it passes two kinds of messages to `extract`, which can read them.

    These are messages with properties that paho can't read, and those that are too large to be held.
    """

    _max_unsent = 65_536  # acknowledgements

    def acknowledge(self, packet_ids: list[bytes]) -> None:
        """Queue a PUBACK for each; an item may hold several ids, with the first two bytes of a PUBACK between them."""
        ids = PUBACK.join(packet_ids)
        for at in range(0, len(ids), 4):
            self.ack(int.from_bytes(ids[at : at + 2]), 1)

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > MAX_OTHER_BYTES and not self._in_packet["packet"]:
            self._begin_large_packet(self._in_packet)
        # Not as much as paho asks for: the socket would make a buffer of the packet's size.
        received: bytes = super()._sock_recv(min(bufsize, RECEIVE_BYTES))
        return received

    def _begin_large_packet(self, incoming: Any) -> None:
        first, length = incoming["command"], incoming["remaining_length"]
        header = bytes((first,)) + VariableByteIntegers.encode(length)
        if first >> 4 != _PUBLISH or len(header) + length > self._max_packet_bytes:
            incoming["packet"] = _PassedOn(self._pass_on)
            self._pass_on(header)

    def _pass_on(self, data: bytes) -> None:
        self._extract(data)
        self.forget_pending_ping()  # its answer is behind this packet

    def _handle_publish(self) -> Any:
        if isinstance(self._in_packet["packet"], _PassedOn):
            return paho.MQTT_ERR_SUCCESS
        try:
            return super()._handle_publish()
        except _UNREADABLE:
            # An error would end the connection, and the broker would send the message again to each new one.
            packet = bytes(self._in_packet["packet"])
            first = bytes((self._in_packet["command"],))
            others, _ = self._extract(first + VariableByteIntegers.encode(len(packet)) + packet)
            if others:
                raise
            return paho.MQTT_ERR_SUCCESS


class _PassedOn:
    """Stands for the bytes of a packet in paho: `pass_on` gets them as they come, and paho collects nothing."""

    def __init__(self, pass_on: Callable[[bytes], None]) -> None:
        self._pass_on = pass_on

    def __iadd__(self, data: bytes) -> Self:
        self._pass_on(data)
        return self


def event_of(source: str, message: paho.MQTTMessage) -> Event:
    """Return the same event that `PacketReader` makes of this message.

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
    size = len(topic) + len(raw) + len(body)
    return Event(source, topic, body, now_ms, token, raw, details, defect=defect, redelivered=message.dup, size=size)


class TappedClient(_BaseClient):
    """paho without the messages: the `Tap` passes them from its socket to `extract`."""

    _max_unsent = 1024  # each with the acknowledgements of a whole batch

    def acknowledge(self, packet_ids: list[bytes]) -> None:
        """Queue the PUBACKs as if they were one packet; paho copes with a packet that the socket takes in parts."""
        self._packet_queue(PUBACK[0], PUBACK + PUBACK.join(packet_ids), 0, 1)

    def _create_socket(self) -> Any:
        return Tap(super()._create_socket(), self._extract)


class Tap:
    """Stands in for paho's socket: `pull` receives and extracts the messages, `recv` gives paho the other packets."""

    def __init__(self, real: Any, extract: MessageExtractor) -> None:
        self.real: socket.socket = real
        self.send = self.real.send
        self.close = self.real.close
        self.fileno = self.real.fileno
        self.setblocking = self.real.setblocking
        self._extract = extract
        self._for_paho = b""
        self._deferred = b""
        self._error: OSError | None = None
        self._ended = False
        self._next_pingresp = 0.0

    @property
    def paho_can_read(self) -> bool:
        """Whether paho has something to read: packets, or the end of the connection."""
        return self._ended or bool(self._for_paho)

    @property
    def has_deferred(self) -> bool:
        """Whether `pull` has received bytes that it has not extracted yet; the real socket does not report these."""
        return bool(self._deferred)

    def recv(self, size: int) -> bytes:
        """Return at most `size` bytes for paho; b"" at the end of the connection."""
        if self._for_paho:
            part, self._for_paho = self._for_paho[:size], self._for_paho[size:]
            return part
        if self._error is not None:
            raise self._error
        if self._ended:
            return b""
        raise BlockingIOError

    def pull(self) -> None:
        """Extract the messages of the deferred bytes, or receive if there are none."""
        if data := self._deferred or self._receive():
            others, self._deferred = self._extract(data)
            self._for_paho += others
            if not self._for_paho and (now := time.monotonic()) >= self._next_pingresp:
                # Messages show that the connection lives, but paho doesn't see them. The answer to its ping may be
                # behind a long backlog, and paho would end the connection: so it gets an answer from here.
                self._next_pingresp = now + _PINGRESP_INTERVAL_S
                self._for_paho = _PINGRESP

    def _receive(self) -> bytes:
        """Read once; under TLS, where a read returns one record at most, read up to RECEIVE_BYTES."""
        secure = isinstance(self.real, ssl.SSLSocket)
        parts: list[bytes] = []
        room = RECEIVE_BYTES
        try:
            while room > 0:
                part = self.real.recv(_TLS_RECORD_BYTES if secure else room)
                parts.append(part)
                room -= len(part)
                if not (part and secure):
                    break
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            self._error = error
        self._ended = self._error is not None or b"" in parts
        return parts[0] if len(parts) == 1 else b"".join(parts)


@cache
def self_test() -> str:
    """Return why the fast path can't be used with this release of paho, or "" if it can.

    The tap relies on private parts of paho. So it is tried out, once per process, without a network.
    """
    message, pubacks = b"\x30\x04\x00\x01t\x00", b"\x40\x02\x00\x01\x40\x02\x00\x02"
    extracted: list[bytes] = []

    def extract(data: bytes) -> tuple[bytes, bytes]:
        extracted.append(data)
        return data.replace(message, b""), b""

    fake = _FakeSocket(b"\x20\x03\x00\x00\x00" + message + b"\xd0\x00")
    options = {"protocol": paho.MQTTv5, "reconnect_on_failure": False, "manual_ack": True}
    client = _SelfTestClient(Tap(fake, extract), extract, **options)
    client.on_socket_register_write = lambda *_: None
    try:
        # Nothing listens on this port, in case paho should not ask us for the socket any more.
        client.connect("127.0.0.1", 1)
        client.tap.pull()
        while client.tap.paho_can_read:
            if client.loop_read() is not paho.MQTT_ERR_SUCCESS:
                return "it doesn't read"
        if not client.is_connected() or extracted != [fake.received]:
            return "it doesn't read from the tap"
        client.acknowledge([b"\x00\x01", b"\x00\x02"])
        while client.want_write():
            if client.loop_write() is not paho.MQTT_ERR_SUCCESS:
                return "it doesn't write"
        if not fake.sent.endswith(pubacks):
            return "it doesn't write what is queued"
    except Exception as error:  # noqa: BLE001 - any error means that this paho is not the expected one
        return describe_error(error)
    return ""


class _SelfTestClient(TappedClient):
    def __init__(self, tap: Tap, extract: MessageExtractor, **options: Any) -> None:
        super().__init__(extract, **options)
        self.tap = tap

    def _create_socket(self) -> Any:
        return self.tap


class _FakeSocket:
    """A broker's bytes, received all at once; `send` takes three bytes at a time."""

    def __init__(self, received: bytes) -> None:
        self.received = received
        self.sent = b""
        self._was_read = False

    def recv(self, _size: int) -> bytes:
        if self._was_read:
            raise BlockingIOError
        self._was_read = True
        return self.received

    def send(self, data: bytes) -> int:
        self.sent += data[:3]
        return len(data[:3])

    def close(self) -> None: ...

    def fileno(self) -> int:
        return -1

    def setblocking(self, _flag: object) -> None: ...
