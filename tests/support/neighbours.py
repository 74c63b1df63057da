"""Broken neighbours: an address that swallows every packet, a server that is silent, and a resolver that a test rules."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support.certificates import Certificates
from tests.support.children import wait_until, with_fault

#: Beside the brokers' own address; no packet leaves the machine.
BLACK: Final = "127.0.0.2"
#: More than a listener takes that takes one and accepts none.
_FILL: Final = 4


class BlackHole:
    """The port of an address that answers nothing, as behind a firewall that drops: its listener's queue is full (Linux).

    Use it as a context manager.
    """

    def __init__(self, port: int = 0) -> None:
        self._port = port
        self._ends = ExitStack()

    @property
    def port(self) -> int:
        """The port."""
        return self._port

    def __enter__(self) -> Self:
        listener = self._ends.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((BLACK, self._port))
        listener.listen(0)
        self._port = listener.getsockname()[1]
        for _ in range(_FILL):
            client = self._ends.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((BLACK, self._port))
        wait_until(self._swallows, what="a black hole")
        return self

    def close(self) -> None:
        """Refuse from now on."""
        self._ends.close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _swallows(self) -> bool:
        try:
            socket.create_connection((BLACK, self._port), timeout=0.2).close()
        except TimeoutError:
            return True
        return False


class Names:
    """The resolver of a bridge whose environment has `env`; of names it does not know, it asks the system's."""

    def __init__(self, directory: Path, names: Mapping[str, Sequence[str] | None]) -> None:
        self._path = directory / "names.json"
        self.set(names)

    @property
    def env(self) -> dict[str, str]:
        """The environment."""
        return {**with_fault("resolving"), "NAMES": str(self._path)}

    def set(self, names: Mapping[str, Sequence[str] | None]) -> None:
        """Map names (or patterns, as `dead-*`) to addresses from now on; None: there is never an answer."""
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(names))
        new.replace(self._path)  # whole at every moment


class MuteTls:
    """A server that makes the TLS handshake and then neither reads nor writes; use it as a context manager."""

    def __init__(self, certificates: Certificates) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificates.cert, certificates.key)
        self._ends = ExitStack()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        #: How many clients have connected.
        self.accepted = 0

    @property
    def port(self) -> int:
        """The port."""
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        self._ends.close()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            link.settimeout(5)
            with suppress(OSError):
                self._ends.enter_context(self._context.wrap_socket(link, server_side=True))
