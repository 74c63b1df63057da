"""The TLS of a connection: its context, its files, and its failures in words."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bridge.config.connection import Tls
from bridge.errors import Disconnected, describe_error

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
    "KEY_VALUES_MISMATCH": "tls: the key does not fit the certificate",
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


class _Context(ssl.SSLContext):
    """A client context that can check the certificate against another name than the one connected to."""

    server_name: str | None = None

    def wrap_socket(self, sock: socket.socket, **options: Any) -> ssl.SSLSocket:  # type: ignore[override]
        """Wrap `sock`, and expect a certificate for `server_name` if it is set."""
        if self.server_name is not None:
            options["server_hostname"] = self.server_name
        return super().wrap_socket(sock, **options)


def context(tls: Tls | None) -> ssl.SSLContext:
    """Return the client context for `tls`; without `ca` it trusts the system's authorities.

    Raises:
        Disconnected: a file cannot be read. A later attempt may succeed: certificates are rotated.
    """
    tls = tls or Tls()
    for name, cause in unreadable_files(tls):
        raise Disconnected(f"tls.{name}: {cause}")
    ssl_context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    ssl_context.server_name = tls.server_name
    if tls.ca is None:
        ssl_context.load_default_certs()
    else:
        try:
            ssl_context.load_verify_locations(tls.ca)
        except (OSError, ssl.SSLError):
            raise Disconnected(f"tls.ca: there is no certificate in {tls.ca}") from None
    if tls.cert is not None:
        try:
            ssl_context.load_cert_chain(tls.cert, tls.key)
        except (OSError, ssl.SSLError) as error:
            fits = "KEY_VALUES_MISMATCH" not in str(error)
            cause = f"no certificate and key can be read from {tls.cert} and {tls.key}: {error}"
            raise Disconnected(f"tls: {cause}" if fits else _WORDS["KEY_VALUES_MISMATCH"]) from None
    if not tls.verify:
        ssl_context.check_hostname = False
        ssl_context.verify_mode = ssl.CERT_NONE
    return ssl_context


def unreadable_files(tls: Tls) -> Iterator[tuple[str, str]]:
    """Yield the key of each file of `tls` that cannot be read, and why."""
    for name, path in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
        if path is not None:
            try:
                with Path(path).open("rb"):
                    pass
            except (OSError, ValueError) as error:
                yield name, f"{path} cannot be read: {getattr(error, 'strerror', None) or 'this is no path'}"


def explain(error: BaseException, url: str) -> str:
    """Return why connecting to `url` failed, before its server's first answer; failures of TLS name the setting to change."""
    scheme = url.partition("://")[0]
    plain = scheme.removesuffix("s") if scheme != "redis" else scheme
    secure = "rediss" if plain == "redis" else f"{plain}s"
    cause: BaseException | None = error
    while cause is not None:
        for token, words in _WORDS.items():
            if token in str(cause):
                return words.format(plain=plain, secure=secure)
        cause = cause.__cause__ or cause.__context__
    text = describe_error(error)
    if not any(each in text for each in _ENDED):
        return text
    likely = (
        "it wants a client certificate, or speaks no TLS"
        if scheme == secure
        else f"the port is one for TLS ({secure}://)"
    )
    return f"{_BEFORE_ANSWER}: perhaps {likely}"
