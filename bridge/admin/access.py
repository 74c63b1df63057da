"""Who may see and who may change: the Host and Origin of a request, and its token.

A page in somebody's browser can send requests to an address of this machine, also under a name of its own that it has bound to
that address (DNS rebinding). It cannot choose Host and Origin, so these show it.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote

from bridge.config.admin import AdminSettings
from bridge.errors import BridgeError

_NETLOC: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,255})(?::[0-9]{1,5})?")
_ORIGIN: Final = re.compile(rf"https?://(?P<netloc>{_NETLOC.pattern})")
_BEARER: Final = re.compile(r"bearer +(?P<token>[!-~]+) *", re.IGNORECASE)
_SECRET_NAME: Final = re.compile(r"token|authorization|bearer|password|secret|api_?key", re.IGNORECASE)
_SEND_IT: Final = "send it as `Authorization: Bearer TOKEN`"
#: A query has so many parameters at most.
_MAX_FIELDS: Final = 16
_READ_ONLY: Final = (
    "this address only shows, since it has no token: set admin: {token: ...} in the configuration,"
    " or listen on a Unix socket, which needs none"
)


class Refused(BridgeError):
    """A request that is not carried out: the status and the words of its answer."""

    def __init__(self, status: int, words: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(words)
        self.status = status
        self.words = words
        self.headers = dict(headers or {})


class Access:
    """The rules of one server."""

    def __init__(self, settings: AdminSettings) -> None:
        self._is_socket = settings.unix_path is not None
        self._hosts = frozenset(host.lower().strip("[]") for host in settings.hosts)
        self._names = self._hosts | {"localhost", settings.host.lower()}
        token = settings.token
        self._token = token.get_secret_value().encode() if token is not None else None

    @property
    def changes(self) -> str:
        """How something can be changed, for the log."""
        if self._is_socket:
            return "by this user and root"
        return "refused without a token" if self._token is None else "with the token"

    @property
    def kind(self) -> Literal["socket", "token", "none"]:
        """The right to change something, and to see contents: everybody's at a socket, that of the token, or nobody's."""
        if self._is_socket:
            return "socket"
        return "none" if self._token is None else "token"

    def has_token_of(self, other: Access) -> bool:
        """Return whether it asks for the same token as `other`."""
        return self._token == other._token

    def check_names(self, hosts: Sequence[str], origins: Sequence[str], local: str) -> None:
        """Check the values of Host and Origin; `local` is the address of this end of the connection.

        A Unix socket needs no check: no browser reaches it.

        Raises:
            Refused: the request may come from a stranger's page.
        """
        if self._is_socket:
            return
        if len(hosts) != 1:
            raise Refused(400, "the request needs exactly one Host header")
        match = _NETLOC.fullmatch(hosts[0])
        if match is None:
            raise Refused(400, "the Host header holds no name of a host")
        if not self._is_own(match["host"], local):
            words = f"this server has not the name {match['host']}: if it should, add it to admin: {{hosts: [...]}}"
            raise Refused(403, words)
        for origin in origins:
            match = _ORIGIN.fullmatch(origin)
            # A page of another port of this machine is a stranger's as well.
            if match is None or (
                match["netloc"].lower() != hosts[0].lower() and _bare(match["host"]) not in self._hosts
            ):
                raise Refused(403, "the Origin header names the page of another server")

    def check_query(self, query: str) -> None:
        """Check that a query holds no token: addresses end up in histories, and in the logs of proxies.

        Raises:
            Refused: it has a parameter for one, or the token itself.
        """
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
        except ValueError:
            raise Refused(400, "the query cannot be read") from None
        # A token may have characters that mean something in a query, as `+` and `&` do.
        texts = [query, unquote(query), *(f"{name}={value}" for name, value in pairs)]
        has_token = self._token is not None and any(self._token in each.encode("utf-8", "replace") for each in texts)
        if has_token or any(_SECRET_NAME.search(name) for name, _ in pairs):
            raise Refused(400, f"a token does not belong into an address, which logs and histories keep: {_SEND_IT}")

    def may_see_contents(self, authorizations: Sequence[str]) -> bool:
        """Return whether a request may see bodies, headers and other contents of events.

        Raises:
            Refused: it has a token, and that is wrong.
        """
        if self._is_socket:
            return True
        if self._token is None or not authorizations:
            return False
        self.check_change(authorizations)
        return True

    def check_change(self, authorizations: Sequence[str]) -> None:
        """Check the values of Authorization of a request that changes something.

        Raises:
            Refused: it has no right to.
        """
        if self._is_socket:
            return
        if self._token is None:
            raise Refused(403, _READ_ONLY)
        match = _BEARER.fullmatch(authorizations[0]) if len(authorizations) == 1 else None
        if match is None or not hmac.compare_digest(match["token"].encode(), self._token):
            words = "wrong token" if authorizations else "this needs the token of the configuration's admin section"
            raise Refused(401, f"{words}: {_SEND_IT}", {"WWW-Authenticate": 'Bearer realm="dramatiq-bridge"'})

    def _is_own(self, host: str, local: str) -> bool:
        host = _bare(host)
        if host in self._names:
            return True
        address, own = _address(host), _address(local)
        # The address that the client has connected to; it is not known beforehand for 0.0.0.0.
        return address is not None and (address.is_loopback or address == own)


def _bare(host: str) -> str:
    return host.lower().strip("[]")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
