"""A broker as a child process: started until it answers, stopped, killed, paused, restarted with its data."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self
from urllib.parse import quote

from tests.support.children import Child, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from tests.support.certificates import Certificates

# Debian keeps servers where an ordinary user's PATH does not look; its `rabbitmq-server` on PATH is a wrapper that
# changes to the user `rabbitmq` and its directories. BROKER_PROGRAMS is a folder with a broker of another version.
_SEARCH = os.pathsep.join(
    [
        *filter(None, [os.environ.get("BROKER_PROGRAMS")]),
        "/usr/lib/rabbitmq/bin",
        os.environ.get("PATH", os.defpath),
        "/usr/local/sbin",
        "/usr/sbin",
    ]
)


def find_program(name: str) -> str | None:
    """Return the path of a broker's program, or None where it is not installed."""
    return shutil.which(name, path=_SEARCH)


class Broker(ABC):
    """What all brokers have in common; `config` holds additional lines of the broker's own configuration file."""

    program: ClassVar[str]
    scheme: ClassVar[str]
    grace: ClassVar[float] = 15.0

    def __init__(
        self,
        config: Mapping[str, object] | None = None,
        *,
        user: str | None = None,
        password: str | None = None,
        tls: Certificates | None = None,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.program}-"))
        self.port = free_port()
        self.config = {key: str(value) for key, value in (config or {}).items()}
        self.user = user
        self.password = password
        self.tls = tls
        self.log = self.directory / "log"
        self._child: Child | None = None

    @abstractmethod
    def _command(self) -> list[str]:
        """Write the configuration and return the command that starts the broker in the foreground."""

    @abstractmethod
    def _hello(self, link: socket.socket) -> bool:
        """Say the protocol's first words and tell whether the broker answered."""

    def _env(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.directory)}

    def _find(self, name: str) -> str:
        """Return the path of one of the broker's programs; AssertionError where it is not installed."""
        program = find_program(name)
        assert program is not None, f"{name} is not installed"
        return program

    def _entered(self, command: list[str]) -> list[str]:
        """Return the command that becomes `command` where the broker's programs are; here they are this machine's."""
        return command

    @property
    def url(self) -> str:
        """The broker's address with its credentials, as a bridge's configuration takes it."""
        scheme = self.scheme + ("s" if self.tls else "")
        login = f"{quote(self.user or '', safe='')}:{quote(self.password, safe='')}@" if self.password else ""
        return f"{scheme}://{login}127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """Say whether the broker's process lives (it may be paused)."""
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int:
        """The process id of the running broker."""
        assert self._child is not None, f"{self.program} is not started"
        return self._child.pid

    def start(self, timeout: float = 60.0) -> Self:
        """Start the broker and wait until it answers; AssertionError with the log's end if it does not."""
        assert not self.running, f"{self.program} runs already"
        with self.log.open("ab") as log:
            self._child = Child(self._entered(self._command()), env=self._env(), cwd=self.directory, stdout=log)
        deadline = time.monotonic() + timeout
        while not self._answers():
            ended = not self._child.running
            if ended or time.monotonic() > deadline:
                self.kill()
                how = "ended at once" if ended else f"did not answer within {timeout:g} s"
                raise AssertionError(f"{self.program} {how}\n{self.log_tail()}")
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after a while; the data stay."""
        if self._child is not None:
            self._child.end(self.grace)
            self._child = None

    def kill(self) -> None:
        """SIGKILL, as a power cut would: nothing is written any more."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def restart(self) -> None:
        """Stop and start, on the same port with the same data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        assert self._child is not None
        self._child.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: go on as if nothing had happened."""
        if self._child is not None:
            self._child.signal(signal.SIGCONT)

    def close(self) -> None:
        """End the broker and remove its directory."""
        self.resume()
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def log_tail(self, lines: int = 30) -> str:
        """Return the end of what the broker has printed."""
        with suppress(FileNotFoundError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2) as plain:
            if self.tls is None:
                return self._hello(plain)
            context = ssl.create_default_context(cafile=self.tls.ca)
            context.load_cert_chain(self.tls.client_cert, self.tls.client_key)
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as link:
                return self._hello(link)
        return False

    def _write(self, name: str, lines: Mapping[str, object], separator: str = " ") -> str:
        path = self.directory / name
        path.write_text("".join(f"{key}{separator}{value}\n" for key, value in lines.items()))
        return str(path)
