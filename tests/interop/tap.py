"""A proxy between a bridge and an MQTT broker that notes which events the bridge has acknowledged."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.faults.checker import number_of
from tests.faults.proxy import Proxy

_PUBLISH: Final = 3
_PUBACK: Final = 4
#: As each event of a load begins; properties stand before it.
_BODY: Final = b'{"n": '


class Tap(Proxy):
    """Forwards everything as it is; for QoS 1."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        #: The numbers of the events that were acknowledged, by topic.
        self.acknowledged: dict[str, set[int]] = defaultdict(set)
        # By connection, and by packet identifier.
        self._unacknowledged: dict[Any, dict[bytes, tuple[str, int]]] = defaultdict(dict)

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        under_way = self._unacknowledged[client]

        def note(kind: int, packet: bytes) -> None:
            if kind == _PUBACK and (event := under_way.pop(packet[:2], None)):
                topic, number = event
                self.acknowledged[topic].add(number)

        await super()._requests(_Noted(reader, note), writer, client)

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: int | None) -> None:
        under_way = self._unacknowledged[writer]

        def note(kind: int, packet: bytes) -> None:
            number = number_of(packet[max(packet.find(_BODY), 0) :])
            if kind == _PUBLISH and number is not None:
                end = 2 + int.from_bytes(packet[:2])
                under_way[packet[end : end + 2]] = (packet[2:end].decode(), number)

        await super()._replies(_Noted(reader, note), writer, budget)


class _Noted(asyncio.StreamReader):
    """Reads from another reader; `note` gets each whole packet: its type, and all behind its fixed header."""

    def __init__(self, reader: asyncio.StreamReader, note: Callable[[int, bytes], None]) -> None:
        super().__init__()
        self._reader = reader
        self._note = note
        self._rest = b""

    async def read(self, n: int = -1) -> bytes:
        """See StreamReader."""
        data = await self._reader.read(n)
        for kind, packet in self._packets(data):
            self._note(kind, packet)
        return data

    def _packets(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        self._rest += data
        while (found := _first(self._rest)) is not None:
            start, end = found
            yield self._rest[0] >> 4, self._rest[start:end]
            self._rest = self._rest[end:]


def _first(data: bytes) -> tuple[int, int] | None:
    """Return where the first packet's body begins and ends; None where it is not whole."""
    size = 0
    for index, byte in enumerate(data[1:5]):
        size |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            start = 2 + index
            return (start, start + size) if len(data) >= start + size else None
    return None
