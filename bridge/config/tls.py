"""The TLS of a connection: its context, its files, and its failures in words."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from typing import Any, Final

from bridge.config.connection import Tls
from bridge.config.files import InaccessibleFile, UnreadableFile, read_file, whole
from bridge.config.models import Config
from bridge.errors import Diagnostic, Disconnected, KeyPath, causes, describe_error

#: The certificates of all the authorities of a system are 0.2 MiB.
MAX_FILE_BYTES: Final = 1024 * 1024

#: The path of each file, and its identity and times; or its path, and the number of the error.
_Files = tuple[tuple[object, ...], ...]
_DEFAULT: Final = Tls()

#: The words of the TLS library, and of a client that meets TLS unawares, and how a user would say it.
_WORDS: Final = {
    "WRONG_VERSION_NUMBER": "this port speaks no TLS: write {plain}:// in the URL",
    "RECORD_LAYER_FAILURE": "this port speaks no TLS: write {plain}:// in the URL",
    "UNSUPPORTED_PROTOCOL": "the server speaks no TLS 1.2, nor a later one",
    "PROTOCOL_VERSION": "the server speaks no TLS 1.2, nor a later one",
    "CERTIFICATE_REQUIRED": "the server wants a client certificate (tls: {{cert, key}})",
    "HANDSHAKE_FAILURE": "the server refuses the TLS handshake: perhaps it wants a client certificate (tls: {{cert, key}})",
    "UNEXPECTED_EOF": "the server ended the TLS handshake: perhaps it wants a client certificate, or speaks no TLS",
    "EOF occurred": "the server ended the TLS handshake: perhaps it wants a client certificate, or speaks no TLS",
    # A record of TLS begins with its kind (0x15: an alert) and the version.
    'got "\\x15" as reply type byte': "this port speaks TLS: write {secure}:// in the URL",
    "b'\\x15\\x03": "this port speaks TLS: write {secure}:// in the URL",
}


#: A connection that was closed or reset.
_ENDED: Final = (
    "reset by peer",
    "Connection closed by server",
    "handler is closed",
    "closed=True",
    "Broken pipe",
    "Connection lost",
)
_BEFORE_ANSWER: Final = "the connection ended before the server's first answer"


class TlsFault(Disconnected):
    """A file of `tls` that can't be used. A later attempt may succeed, since certificates are rotated.

    `setting` is the key below `tls` to look at, "" for `tls` itself; `cause` is `tls.setting: problem`.
    """

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"tls.{setting}: {problem}" if setting else f"tls: {problem}")
        self.setting = setting
        self.problem = problem
        #: Whether the configuration is at fault, and not the file: a password is missing, or another one is needed.
        self.is_password = False


#: The context of each `tls`, and the state of its files before they were read. One of the system's authorities costs 20 ms of
#: CPU. Connections share it: they only read it, each has a TLS object of its own, and OpenSSL counts the references.
_contexts: Final[dict[Tls, tuple[_Files, ssl.SSLContext]]] = {}


def context(tls: Tls | None) -> ssl.SSLContext:
    """Return the client context for `tls`; without `ca` it trusts the system's authorities, if it verifies at all.

    The same settings get the same context until one of their files is another one: certificates are rotated.

    Raises:
        TlsFault: a file can't be used.
    """
    tls = tls or _DEFAULT
    files = _files(tls)
    known = _contexts.get(tls)
    if known is not None and known[0] == files:
        return known[1]
    for fault in _unreadable(tls):
        raise fault
    made = _context(tls)
    _contexts[tls] = files, made
    return made


def _files(tls: Tls) -> _Files:
    """Return for each file of `tls`, and of the system's authorities where they are trusted, whether it is the same one as before."""
    paths = [path for path in (tls.ca, tls.cert, tls.key) if path is not None]
    if tls.ca is None and tls.verify:
        # Where OpenSSL looks now: SSL_CERT_FILE and SSL_CERT_DIR, or its own places.
        default = ssl.get_default_verify_paths()
        paths += [path for path in (default.cafile, default.capath) if path]
    states: list[tuple[object, ...]] = []
    for path in paths:
        try:
            state = os.stat(path)  # noqa: PTH116 - a Path for each connect costs more
            states.append((path, state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns))
        except OSError as error:
            states.append((path, error.errno))
    return tuple(states)


def _context(tls: Tls) -> ssl.SSLContext:
    ssl_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.ca is not None:
        try:
            ssl_context.load_verify_locations(tls.ca)
        except (OSError, ssl.SSLError):
            raise TlsFault("ca", f"there is no certificate in {whole(tls.ca)}") from None
    if tls.cert is not None:
        _load_key(ssl_context, tls, tls.cert)
    if tls.ca is None and tls.verify:
        ssl_context.load_default_certs()  # last, because it costs most, and a key that fails is tried again
    if not tls.verify:
        ssl_context.check_hostname = False
        ssl_context.verify_mode = ssl.CERT_NONE
    return ssl_context


def _load_key(ssl_context: ssl.SSLContext, tls: Tls, cert: str) -> None:
    is_encrypted = False

    def password() -> str:
        # OpenSSL asks for it on the terminal unless it can call a function, and the whole process waits (observed).
        nonlocal is_encrypted
        is_encrypted = True
        if tls.key_password is None:
            raise _password_fault("key", f"{whole(tls.key or cert)} is encrypted: set key_password")
        return tls.key_password.get_secret_value()

    try:
        ssl_context.load_cert_chain(cert, tls.key, password)
    except (OSError, ssl.SSLError) as error:
        if "KEY_VALUES_MISMATCH" in str(error):
            raise TlsFault("", "the key does not fit the certificate") from None
        if is_encrypted:
            raise _password_fault("key_password", f"it does not decrypt {whole(tls.key or cert)}") from None
        raise TlsFault(
            "", f"no certificate and key can be read from {whole(cert)} and {whole(tls.key or cert)}: {error}"
        ) from None


def _password_fault(setting: str, problem: str) -> TlsFault:
    fault = TlsFault(setting, problem)
    fault.is_password = True
    return fault


def _unreadable(tls: Tls) -> Iterator[TlsFault]:
    """Yield the fault of each file of `tls` that can't be read, and of the system's authorities where they are trusted."""
    if tls.ca is None and tls.verify:
        yield from _endless_default()
    for setting, path in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
        if path is not None:
            try:
                # OpenSSL would wait for a pipe, and read a device without an end.
                read_file(path, MAX_FILE_BYTES)
            except UnreadableFile as error:
                yield TlsFault(setting, f"{whole(path)} {error}")


def _endless_default() -> Iterator[TlsFault]:
    """Yield a fault if OpenSSL would read the file that its own variable names for ever, or for long."""
    path = os.environ.get("SSL_CERT_FILE")
    if path and path != os.devnull:
        try:
            read_file(path, MAX_FILE_BYTES)
        except InaccessibleFile:
            pass  # OpenSSL ignores it (observed)
        except UnreadableFile as error:
            yield TlsFault("", f"{whole(path)}, the file of the variable SSL_CERT_FILE, {error}")


def faults(tls: Tls) -> Iterator[TlsFault]:
    """Yield the fault of each file of `tls` that can't be read; if all can be, the first fault of using them."""
    unreadable = list(_unreadable(tls))
    yield from unreadable
    if not unreadable:
        try:
            _context(tls)
        except TlsFault as fault:
            yield fault


def mistakes(loaded: Config, *, passwords_only: bool = False) -> Iterator[Diagnostic]:
    """Yield a mistake for each fault of `faults` in a connection; with `passwords_only` those that no new file mends."""
    connections: list[tuple[KeyPath, Any]] = [(("sources", name), source) for name, source in loaded.sources.items()]
    for path, connection in [(("dramatiq",), getattr(loaded, "dramatiq", None)), *connections]:
        settings: Tls | None = getattr(connection, "tls", None)
        if settings is None or (passwords_only and settings.key is None):
            continue
        for fault in faults(settings):
            if fault.is_password or not passwords_only:
                yield Diagnostic((*path, "tls", *([fault.setting] if fault.setting else [])), fault.problem)


def explain(error: BaseException, url: str) -> str:
    """Return why connecting to `url` failed, before its server's first answer; failures of TLS name the setting to change."""
    scheme = url.partition("://")[0]
    text = describe_error(error)
    has_ended = any(each in text for each in _ENDED)
    if scheme == "unix":  # which has no TLS
        return f"{_BEFORE_ANSWER}: perhaps this is not the socket of a Redis" if has_ended else text
    plain = scheme.removesuffix("s") if scheme != "redis" else scheme
    secure = "rediss" if plain == "redis" else f"{plain}s"
    for cause in causes(error):
        for token, words in _WORDS.items():
            if token in str(cause):
                return words.format(plain=plain, secure=secure)
    if not has_ended:
        return text
    likely = (
        "it wants a client certificate, or speaks no TLS"
        if scheme == secure
        else f"the port is one for TLS ({secure}://)"
    )
    return f"{_BEFORE_ANSWER}: perhaps {likely}"
