"""A client of `GET /tap`, which reads the lines in a thread, or not at all."""

from __future__ import annotations

import http.client
import json
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from tests.support.children import wait_until


class TapReader:
    """A tap of the bridge at a port; use it as a context manager. The names of parameters may end in `_`."""

    def __init__(self, port: int, token: str | None = None, *, reads: bool = True, **parameters: object) -> None:
        self.lines: list[dict[str, Any]] = []
        self.is_whole = False
        query = urlencode({name.rstrip("_"): value for name, value in parameters.items()})
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        self._connection.request("GET", f"/tap?{query}", headers=headers)
        self._socket = self._connection.sock  # the connection forgets it, since it ends with the answer
        self._answer = self._connection.getresponse()
        self.status = self._answer.status
        self._thread = threading.Thread(target=self._read, name="tests:tap")
        if self.status != 200:
            self.error = self._answer.read().decode()
        elif reads:
            self.read()

    def read(self) -> None:
        """Begin to read, and wait for the first line: the tap is open then."""
        self._thread.start()
        wait_until(lambda: self.lines, 30, "the first line of a tap")

    def events(self) -> list[dict[str, Any]]:
        """Return the lines of events."""
        return [line for line in list(self.lines) if "outcome" in line]

    def dropped(self) -> int:
        """Return how many events were dropped, by the lines until now."""
        return sum(line["dropped"] for line in list(self.lines) if "dropped" in line and "end" not in line)

    def wait(self, events: int) -> list[dict[str, Any]]:
        """Wait for so many events, and return them."""
        wait_until(lambda: len(self.events()) >= events, 10, f"{events} tapped events")
        return self.events()

    def end(self) -> dict[str, Any]:
        """Wait for the end, and return the last line."""
        self._thread.join(60)
        assert not self._thread.is_alive(), "the tap does not end"
        return self.lines[-1]

    def leave(self) -> None:
        """End the connection."""
        with suppress(OSError):
            self._socket.shutdown(2)  # before the close, which would wait for the thread that reads
        self._answer.close()
        self._connection.close()

    def _read(self) -> None:
        with suppress(OSError, ValueError, http.client.HTTPException, AttributeError):
            while line := self._answer.readline():
                self.lines.append(json.loads(line))
            self.is_whole = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.leave()
        if self._thread.ident is not None:
            self._thread.join(30)
