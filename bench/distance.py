"""Distance: events/s of one source as the way to its broker, or to Dramatiq's Redis, grows longer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from bench.costs import Setup, Stage, move, stage
from bench.report import Section
from bench.rounds import LogLine
from bench.tables import number, table
from tests.support.children import free_port

_MS: Final = (10, 50)
_EVENTS: Final = {"broker": 60_000, "Redis": 20_000}
_CHUNK: Final = 1 << 18


def section(log_line: LogLine, scale: float) -> Section:
    """Measure AMQP and MQTT with a window of 1,000, either way made longer."""
    rows = []
    for kind in ("amqp", "mqtt"):
        with stage(kind) as on:
            for far in ("broker", "Redis"):
                for ms in _MS:
                    rate = _measure(on, far, ms / 1000, max(5_000, int(_EVENTS[far] * scale)))
                    rows.append([kind, far, f"{ms}", number(rate, 0)])
                    log_line(f"distance  {kind}, {far} {ms} ms away: {rate:,.0f}/s")
    text = "One source with its default window of 1,000 events; the round trip is made longer by a delay of every reply.\n\n"
    return Section("Distance", text + table(["source", "far away", "round trip ms", "events/s"], rows))


def _measure(on: Stage, far: str, seconds: float, events: int) -> float:
    server = on.side.broker if far == "broker" else on.sink
    with delayed(server.port, seconds) as port:

        def through(config: dict[str, Any]) -> dict[str, Any]:
            part = config["dramatiq"] if far == "Redis" else config["sources"]["s0"]
            part["url"] = part["url"].replace(f":{server.port}", f":{port}")
            return config

        return move(on, Setup(on.kind, events), through).events_per_s


@contextmanager
def delayed(target: int, seconds: float) -> Iterator[int]:
    """Forward a port to `target`; every reply arrives later by `seconds`, however many are on their way. Yields the port."""
    port, loop = free_port(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="distance", daemon=True)
    thread.start()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target, limit=_CHUNK)
        await asyncio.gather(_pass(reader, far_writer, 0), _pass(far_reader, writer, seconds))

    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(serve, "127.0.0.1", port), loop).result(10)
    try:
        yield port
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    while data := await reader.read(_CHUNK):
        if seconds:
            loop.call_later(seconds, writer.write, data)
        else:
            writer.write(data)
    loop.call_later(seconds, writer.close)
