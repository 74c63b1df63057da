"""Publishers that are faster than any library: they write each protocol's bytes in bulk and count the confirmations.

Every run needs a backlog of up to 300,000 events within seconds. Brokers confirm each event: RabbitMQ by publisher
confirms for persistent messages, mosquitto by PUBACK at QoS 1, Redis by replies.
"""

from __future__ import annotations

import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import hiredis
from pamqp import base, commands, frame, header

from bench.load import AMQP_EXCHANGE, DOTTED_TOPIC, MQTT_TOPIC, STREAM_FIELD

#: Events between two waits for confirmations; the confirmations of so many fit into a socket's buffer.
_CHUNK: Final = 500
_TIMEOUT_S: Final = 60.0


class Publisher(ABC):
    """A connection to a broker that publishes to the benchmark's topic."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection(
            (address.hostname or "127.0.0.1", address.port or 0), timeout=_TIMEOUT_S
        )
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._awaited = 0
        self._greet()

    def publish(self, bodies: Sequence[bytes]) -> None:
        """Publish, and return once the broker has confirmed everything."""
        for start in range(0, len(bodies), _CHUNK):
            self.send(bodies[start : start + _CHUNK])
            self.await_confirmations()

    def await_confirmations(self) -> None:
        """Wait until the broker has confirmed everything."""
        while self._awaited:
            self._awaited -= self._confirmed(self._receive())

    def send(self, bodies: Sequence[bytes]) -> None:
        """Publish without waiting; the caller must call `collect` now and then."""
        self._awaited += len(bodies)
        self._socket.sendall(b"".join(map(self._packet, bodies)))

    def collect(self) -> None:
        """Count the confirmations that have arrived."""
        self._socket.setblocking(False)
        try:
            while self._awaited:
                self._awaited -= self._confirmed(self._receive())
        except BlockingIOError:
            pass
        finally:
            self._socket.settimeout(_TIMEOUT_S)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    @abstractmethod
    def _greet(self) -> None:
        """Perform the protocol's handshake."""

    @abstractmethod
    def _packet(self, body: bytes) -> bytes:
        """Return the bytes that publish one event."""

    @abstractmethod
    def _confirmed(self, data: bytes) -> int:
        """Return the number of events that `data`, the broker's next bytes, confirms."""

    def _receive(self) -> bytes:
        data = self._socket.recv(1 << 16)
        assert data, "the broker closed the publisher's connection"
        return data


class AmqpPublisher(Publisher):
    """Persistent messages to an exchange, by default the benchmark's, with publisher confirms."""

    def __init__(
        self,
        url: str,
        exchange: str = AMQP_EXCHANGE,
        routing_key: str = DOTTED_TOPIC,
        content_type: str | None = "application/json",
    ) -> None:
        self._address = commands.Basic.Publish(exchange=exchange, routing_key=routing_key)
        self._content_type = content_type
        super().__init__(url)

    def _greet(self) -> None:
        self._buffer = bytearray()
        self._unconfirmed: dict[int, None] = {}
        self._tag = 0
        self._publish = frame.marshal(self._address, 1)
        self._headers: dict[int, bytes] = {}
        self._socket.sendall(b"AMQP\x00\x00\x09\x01")
        self._await("Connection.Start")
        self._send_method(commands.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"), 0)
        self._await("Connection.Tune")
        self._send_method(commands.Connection.TuneOk(channel_max=1, frame_max=131072, heartbeat=0), 0)
        self._call(commands.Connection.Open("/"), "Connection.OpenOk", 0)
        self._call(commands.Channel.Open(), "Channel.OpenOk", 1)
        self._call(commands.Confirm.Select(), "Confirm.SelectOk", 1)

    def _packet(self, body: bytes) -> bytes:
        self._tag += 1
        self._unconfirmed[self._tag] = None
        size = len(body)
        if size not in self._headers:
            properties = commands.Basic.Properties(delivery_mode=2, content_type=self._content_type)
            self._headers[size] = frame.marshal(header.ContentHeader(0, size, properties), 1)
        return b"%b%b\x03\x00\x01%b%b\xce" % (self._publish, self._headers[size], struct.pack(">I", size), body)

    def _confirmed(self, data: bytes) -> int:
        # RabbitMQ sends only Basic.Ack (class 60, method 80), a frame of 7 + 4 + 8 + 1 + 1 bytes.
        self._buffer += data
        before = len(self._unconfirmed)
        whole = len(self._buffer) // 21 * 21
        for start in range(0, whole, 21):
            kind, tag, multiple = struct.unpack_from(">7xIQ?", self._buffer, start)
            assert kind == 60 << 16 | 80, "RabbitMQ sent something else than a confirmation"
            if multiple:
                # The dictionary is in the order of the tags, which only grow.
                while self._unconfirmed and (oldest := next(iter(self._unconfirmed))) <= tag:
                    del self._unconfirmed[oldest]
            else:
                self._unconfirmed.pop(tag)
        del self._buffer[:whole]
        return before - len(self._unconfirmed)

    def _send_method(self, method: base.Frame, channel: int) -> None:
        self._socket.sendall(frame.marshal(method, channel))

    def _call(self, method: base.Frame, answer: str, channel: int) -> None:
        self._send_method(method, channel)
        self._await(answer)

    def _await(self, answer: str) -> None:
        while True:
            if len(self._buffer) >= 7:
                size = int(struct.unpack_from(">I", self._buffer, 3)[0]) + 8
                if len(self._buffer) >= size:
                    _, _, method = frame.unmarshal(bytes(self._buffer[:size]))
                    del self._buffer[:size]
                    assert method.name == answer, f"RabbitMQ said {method.name} instead of {answer}"
                    return
            self._buffer += self._receive()


class MqttPublisher(Publisher):
    """QoS 1 in MQTT 3.1.1, which does not limit the messages in flight."""

    def _greet(self) -> None:
        self._socket.sendall(connect_packet("bench-publisher", clean=True))
        self._topic = struct.pack(">H", len(MQTT_TOPIC)) + MQTT_TOPIC.encode()
        self._identifier = 0
        self._bytes = 0
        connack = self._receive()
        assert connack == b"\x20\x02\x00\x00", connack

    def _packet(self, body: bytes) -> bytes:
        self._identifier = self._identifier % 65_535 + 1
        content = b"%b%b%b" % (self._topic, struct.pack(">H", self._identifier), body)
        return b"\x32%b%b" % (_remaining_length(len(content)), content)

    def _confirmed(self, data: bytes) -> int:
        # Mosquitto sends only PUBACK, a packet of four bytes.
        before = self._bytes // 4
        self._bytes += len(data)
        return self._bytes // 4 - before


class StreamPublisher(Publisher):
    """XADD to the benchmark's stream."""

    _HEAD = b"*5\r\n$4\r\nXADD\r\n$%d\r\n%b\r\n$1\r\n*\r\n$%d\r\n%b\r\n" % (
        len(DOTTED_TOPIC),
        DOTTED_TOPIC.encode(),
        len(STREAM_FIELD),
        STREAM_FIELD.encode(),
    )

    def _greet(self) -> None:
        self._reader = hiredis.Reader()

    def _packet(self, body: bytes) -> bytes:
        return b"%b$%d\r\n%b\r\n" % (self._HEAD, len(body), body)

    def _confirmed(self, data: bytes) -> int:
        self._reader.feed(data)
        replies = 0
        while (reply := self._reader.gets()) is not False:
            assert not isinstance(reply, Exception), reply
            replies += 1
        return replies


class PubsubPublisher(StreamPublisher):
    """PUBLISH to the benchmark's channel."""

    _HEAD = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n" % (len(DOTTED_TOPIC), DOTTED_TOPIC.encode())


def connect_packet(client_id: str, *, clean: bool) -> bytes:
    """Return the CONNECT of MQTT 3.1.1, without keep-alive."""
    content = b"\x00\x04MQTT\x04%b\x00\x00" % (b"\x02" if clean else b"\x00")
    content += struct.pack(">H", len(client_id)) + client_id.encode()
    return b"\x10%b%b" % (_remaining_length(len(content)), content)


def _remaining_length(size: int) -> bytes:
    encoded = bytearray()
    while size > 127:
        encoded.append(size & 127 | 128)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)
