"""Floods a broker with events that are no JSON, from a process of its own: `python -m tests.faults.flood KIND PORT TOPIC`.

KIND is `pubsub` or `mqtt-qos0`. It ends by itself, after a minute or with its broker.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import Final

from bridge.redis_io.connection import encode_command

RATE: Final = 100_000
SECONDS: Final = 60.0
_BLOCK: Final = 1000
_GARBAGE: Final = b"<garbage/>"
_CONNECT: Final = bytes.fromhex("1010 0004 4d515454 04 02 003c 0004") + b"foul"
_TIMEOUT_S: Final = 5.0


class Flood:
    """A flood of `topic` at the broker on `port`, from now until `end`."""

    def __init__(self, kind: str, port: int, topic: str) -> None:
        command = [sys.executable, "-m", "tests.faults.flood", kind, str(port), topic]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def end(self) -> int:
        """End it, and return how many events it has sent, in 100,000s."""
        self._process.terminate()
        out, _ = self._process.communicate(timeout=_TIMEOUT_S)
        return int(out.split()[-1]) if out.split() else 0


def _block(kind: str, topic: bytes) -> bytes:
    if kind == "pubsub":
        return encode_command("PUBLISH", topic, _GARBAGE) * _BLOCK
    size = 2 + len(topic) + len(_GARBAGE)
    return (bytes((0x30, size)) + len(topic).to_bytes(2) + topic + _GARBAGE) * _BLOCK


def _pour(link: socket.socket, block: bytes) -> None:
    sent, started = 0, time.monotonic()
    while (now := time.monotonic()) < started + SECONDS:
        if sent >= (now - started) * RATE:
            time.sleep(0.001)
            continue
        link.sendall(block)
        sent += _BLOCK
        if sent % RATE == 0:
            sys.stdout.write(f"{sent}\n")
            sys.stdout.flush()


def main() -> None:
    """Run the command line."""
    kind, port, topic = sys.argv[1:]
    with socket.create_connection(("127.0.0.1", int(port)), timeout=_TIMEOUT_S) as link, suppress(OSError):
        link.sendall(_CONNECT if kind == "mqtt-qos0" else encode_command("CLIENT", "REPLY", "OFF"))
        _pour(link, _block(kind, topic.encode()))


if __name__ == "__main__":
    main()
