"""A client of the admin server of a running bridge, on an address or a Unix socket."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import quote

import msgspec

import bridge
from bridge.config.wording import near_miss
from bridge.errors import BridgeError, UsageError, describe_error
from bridge.model.control import Paused, Reloaded
from bridge.model.state import BridgeState
from bridge.observe.log_fields import cut
from bridge.observe.masking import masked

_Answer = TypeVar("_Answer")
#: How long the server may take for a connection, and for each part of an answer.
TIMEOUT_S: Final = 5.0
#: How long a stream may be silent: the bridge gives a sign every 15 s.
SILENCE_S: Final = 60.0
#: How long a reload may take: sources that restart finish the events that they have received before.
RELOAD_TIMEOUT_S: Final = 300.0
#: The state of 5,000 routes has 2 MiB.
_MAX_ANSWER: Final = 64 << 20
_MAX_LINE: Final = 16 << 20
_READ: Final = 64 << 10
_UNIX: Final = "unix:"
_WITHOUT: Final = "it needs the `admin: token` of its file; give --token, or set DRAMATIQ_BRIDGE_TOKEN"
_NOT_ITS: Final = (
    "the token is not the bridge's; --token or DRAMATIQ_BRIDGE_TOKEN must be the `admin: token` of the file that it runs with"
    " (if the file has a newer one, give the old one by --token)"
)
#: A server that listens on every address is reached on this machine's own.
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "127.0.0.1", "": "127.0.0.1"}  # noqa: S104 - nothing listens here


class Status(BridgeState, kw_only=True):
    """The answer to `GET /status`. `problems` say why the bridge is not ready."""

    ready: bool
    problems: list[str] = msgspec.field(default_factory=list)


class Unreachable(BridgeError):
    """The admin server gave no answer of its own."""


class NoAnswer(Unreachable):
    """The admin server has the question, and does not answer; it may do it all the same."""


class Refused(BridgeError):
    """The admin server answers, and does not do it."""


@dataclass(frozen=True, slots=True)
class Address:
    """The address of an admin server: a host and a port, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Return the address that `text` spells, as in `127.0.0.1:9464`, `[::1]:9464`, `unix:/run/admin.sock`.

        Raises:
            UsageError: it spells none.
        """
        if text.startswith(_UNIX):
            path = text.removeprefix(_UNIX)
            if path.startswith("/") and "\0" not in path:
                return cls(path=path)
            raise UsageError("takes unix: and an absolute path, as in unix:/run/dramatiq-bridge/admin.sock")
        host, colon, port = text.rpartition(":")
        is_ipv6 = host.startswith("[") and host.endswith("]")
        bare = host[1:-1] if is_ipv6 else host
        number = int(port) if port.isascii() and port.isdecimal() and len(port) <= 5 else 0
        if not colon or not 0 < number < 1 << 16 or (":" in bare) != is_ipv6 or not _is_host(bare):
            raise UsageError(
                "takes an address and a port, or the path of a Unix socket, as in 127.0.0.1:9464, unix:/path"
            )
        return cls(_EVERYWHERE.get(bare, bare), number)

    def __str__(self) -> str:
        if self.path:
            return f"{_UNIX}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _is_host(text: str) -> bool:
    return text.isascii() and text.isprintable() and not any(char in " /@[]?#\\" for char in text)


class AdminClient:
    """Asks the admin server at `address`; each question has a connection of its own."""

    def __init__(self, address: Address, token: str = "") -> None:
        self.address = address
        self._token = token

    def status(self) -> Status:
        """Return how the bridge stands.

        Raises:
            Unreachable: nobody answers, or no bridge.
            Refused: the server refuses it.
        """
        body = self.status_json()
        try:
            return msgspec.json.decode(body, type=Status)
        except msgspec.ValidationError as error:
            version = _field(body, "version")
            if version and version != bridge.__version__:
                why = f"the bridge has version {cut(version)}, this command {bridge.__version__}: use one version"
                raise Unreachable(f"the status of {self.address} can't be read: {why} ({error})") from None
            raise self._stranger(f"its status can't be read: {error}") from None
        except msgspec.DecodeError:
            raise self._stranger("/status is not JSON") from None

    def status_json(self) -> bytes:
        """Return the status as the server sends it, in JSON; errors as `status` has."""
        code, body = self._ask("GET", "/status")
        if code != http.client.OK:
            raise self._refusal(code, body)
        return body

    def pause(self, name: str, *, paused: bool) -> Paused:
        """Pause or resume the source or route `name`; errors as `status` has."""
        order = "pause" if paused else "resume"
        code, body = self._ask("POST", f"/{order}?name={quote(name, safe='')}")
        if code == http.client.NOT_FOUND:
            raise self._unknown(body, name)
        if code != http.client.OK:
            raise self._refusal(code, body)
        answer = self._decode(body, Paused)
        if answer.paused is not paused:
            raise Refused(f"{self.address} did not {order} {cut(name)!r}")
        return answer

    def reload(self, *, wait: bool) -> Reloaded | None:
        """Have the file loaded again; None if the server has accepted it and is not waited for. Errors as `status` has."""
        code, body = self._ask("POST", "/reload" if wait else "/reload?wait=0", RELOAD_TIMEOUT_S if wait else TIMEOUT_S)
        if code == http.client.ACCEPTED:
            return None
        if _field(body, "result"):
            return self._decode(body, Reloaded)
        raise self._refusal(code, body)

    def lines(self, path: str, name: str) -> Iterator[bytes]:
        """Yield the lines of an answer that is streamed; `name` is the one that the bridge may not know.

        Raises:
            NoAnswer: the bridge has ended without the end of the answer, or is silent.
            Unreachable: nobody answers, or no bridge.
            Refused: the server refuses it.
        """
        connection = _Connection(self.address, SILENCE_S)
        with self._explained(SILENCE_S):
            try:
                connection.request("GET", path, headers=self._headers)
                answer = connection.getresponse()
                if answer.status == http.client.NOT_FOUND:
                    raise self._unknown(self._read(answer, time.monotonic() + TIMEOUT_S), name)
                if answer.status != http.client.OK:
                    raise self._refusal(answer.status, self._read(answer, time.monotonic() + TIMEOUT_S))
                yield from self._lines(answer)
            except http.client.IncompleteRead:
                raise NoAnswer(f"{self.address} has ended the connection: the bridge has stopped, or died") from None
            finally:
                connection.close()

    def _lines(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        rest = b""
        while part := answer.read1(_READ):
            *lines, rest = (rest + part).split(b"\n")
            if len(rest) > _MAX_LINE:
                raise self._stranger("a line of its answer has no end")
            yield from lines

    def _unknown(self, body: bytes, name: str) -> BridgeError:
        answer = _unknown_name(body)
        if answer is None:
            return self._refusal(http.client.NOT_FOUND, body)
        known, name = answer.known, answer.name or name
        cause = self._words(body)
        kind = (
            cause.removeprefix("no ").removesuffix(" has this name") if cause.startswith("no ") else "source or route"
        )
        hint = near_miss(name, known) or f"it has {', '.join(map(cut, known[:20]))}{', …' if len(known) > 20 else ''}"
        kind, of, source = kind.partition(" of source ")
        owner = f"{self.address}: source {source}" if of else f"{self.address}"
        return Refused(f"{owner} has no {kind} {cut(name)!r}; {hint}")

    def _decode(self, body: bytes, answer: type[_Answer]) -> _Answer:
        try:
            return msgspec.json.decode(body, type=answer)
        except msgspec.DecodeError as error:
            raise self._stranger(str(error)) from None

    def _ask(self, method: str, path: str, timeout_s: float = TIMEOUT_S) -> tuple[int, bytes]:
        """Return the status code and the body of the answer."""
        connection = _Connection(self.address, timeout_s)
        with self._explained(timeout_s):
            try:
                connection.request(method, path, headers=self._headers)
                answer = connection.getresponse()
                return answer.status, self._read(answer, time.monotonic() + timeout_s)
            finally:
                connection.close()

    @property
    def _headers(self) -> dict[str, str]:
        token = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        return {"Accept": "application/json", "Connection": "close", **token}

    @contextmanager
    def _explained(self, timeout_s: float) -> Iterator[None]:
        """Put the errors of a connection into words."""
        try:
            yield
        except TimeoutError:
            raise NoAnswer(f"no answer from {self.address} within {timeout_s:g} s: does the bridge hang?") from None
        except (ConnectionRefusedError, FileNotFoundError):
            hint = "is the bridge running, with `admin:` in its configuration?"
            raise Unreachable(f"nobody listens at {self.address}: {hint}") from None
        except PermissionError:
            hint = "only the bridge's user and root may" if self.address.path else "a firewall forbids it"
            raise Unreachable(f"this user may not connect to {self.address}: {hint}") from None
        except http.client.HTTPException as error:
            if isinstance(error, ConnectionError):  # it is RemoteDisconnected: of both kinds
                raise NoAnswer(f"{self.address} has closed the connection without an answer") from None
            raise self._stranger(f"it does not speak HTTP as the bridge does ({type(error).__name__})") from None
        except (OSError, UnicodeError) as error:
            raise Unreachable(f"the connection to {self.address} failed: {describe_error(error)}") from None

    def _read(self, answer: http.client.HTTPResponse, deadline: float) -> bytes:
        parts, size = [], 0
        while part := answer.read1(_READ):
            parts.append(part)
            size += len(part)
            if size > _MAX_ANSWER:
                raise self._stranger("its answer has no end")
            if time.monotonic() > deadline:
                raise TimeoutError
        if answer.length:  # read1 does not complain
            raise NoAnswer(f"{self.address} has closed the connection in the middle of its answer")
        return b"".join(parts)

    def _stranger(self, why: str) -> Unreachable:
        return Unreachable(f"{self.address} answers, and is no dramatiq-bridge that this command knows: {why}")

    def _refusal(self, code: int, body: bytes) -> BridgeError:
        words = self._words(body)
        if code == http.client.UNAUTHORIZED:
            return Refused(f"{self.address} refuses it: {_NOT_ITS if self._token else _WITHOUT}")
        if code == http.client.FORBIDDEN:
            given = "" if self._token else "; give --token, or set DRAMATIQ_BRIDGE_TOKEN"
            return Refused(f"{self.address} refuses it: {words or 'it needs a token'}{given}")
        if code in {http.client.NOT_FOUND, http.client.METHOD_NOT_ALLOWED}:
            return self._stranger(f"HTTP {code}")
        return Refused(f"{self.address} refuses it: HTTP {code}{f': {words}' if words else ''}")

    def _words(self, body: bytes) -> str:
        """Return the words of a refusal: those of a JSON object, or a line of text."""
        words = _field(body, "cause") or _field(body, "error")
        if not words and not body.lstrip().startswith((b"{", b"[", b"<")):
            words = body[:1000].decode(errors="replace").strip()
        return cut(masked(words, {self._token})).rstrip(".")


def _field(body: bytes, name: str) -> str:
    """Return a text of a JSON object; "" if it has none, or is none."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return ""
    text = found.get(name) if isinstance(found, dict) else None
    return text if isinstance(text, str) else ""


class _Unknown(msgspec.Struct):
    """The answer to an unknown name."""

    known: list[str]
    name: str = ""


def _unknown_name(body: bytes) -> _Unknown | None:
    try:
        return msgspec.json.decode(body, type=_Unknown)
    except msgspec.DecodeError:
        return None


class _Connection(http.client.HTTPConnection):
    """A connection to a host and port, or to a Unix socket."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        super().__init__(address.host or "localhost", address.port or None, timeout=timeout_s)
        self._path = address.path
        self._timeout_s = timeout_s

    def connect(self) -> None:
        """Open the socket; a server that hangs has a few seconds for it, and an answer may take longer."""
        if not self._path:
            self.timeout = min(TIMEOUT_S, self._timeout_s)
            super().connect()
        else:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(TIMEOUT_S)
            self.sock.connect(self._path)
        self.sock.settimeout(self._timeout_s)
