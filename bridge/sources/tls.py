"""TLS for the sources: verified by default."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from bridge.config import Tls
from bridge.errors import Disconnected


class _Context(ssl.SSLContext):
    """A client context that knows the server by another name than that of the connection."""

    server_name: str | None = None

    def wrap_socket(self, sock: socket.socket, **options: Any) -> ssl.SSLSocket:  # type: ignore[override]
        """Wrap `sock`, asking for the certificate of `server_name` where there is one."""
        if self.server_name is not None:
            options["server_hostname"] = self.server_name
        return super().wrap_socket(sock, **options)


def context(tls: Tls | None) -> ssl.SSLContext:
    """Return the client context for `tls`; the system's authorities where no `ca` is given.

    Raises:
        Disconnected: a file cannot be read (it may appear later: certificates are rotated).
    """
    tls = tls or Tls()
    try:
        made = _Context(ssl.PROTOCOL_TLS_CLIENT)
        made.server_name = tls.server_name
        if tls.ca is None:
            made.load_default_certs()
        else:
            made.load_verify_locations(tls.ca)
        if tls.cert is not None:
            made.load_cert_chain(tls.cert, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise Disconnected(f"tls: {error}") from None
    if not tls.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made
