"""TLS for the sources: certificates are verified unless `verify: false` is set."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from bridge.config import Tls
from bridge.errors import Disconnected


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
    try:
        ssl_context = _Context(ssl.PROTOCOL_TLS_CLIENT)
        ssl_context.server_name = tls.server_name
        if tls.ca is None:
            ssl_context.load_default_certs()
        else:
            ssl_context.load_verify_locations(tls.ca)
        if tls.cert is not None:
            ssl_context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise Disconnected(f"tls: {error}") from None
    if not tls.verify:
        ssl_context.check_hostname = False
        ssl_context.verify_mode = ssl.CERT_NONE
    return ssl_context
