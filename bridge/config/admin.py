"""The admin server: where people and programs see inside a bridge, and steer it."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema

from bridge.config.connection import Model, Name, or_null, secret
from bridge.config.substitution import unmarked
from bridge.config.wording import describe
from bridge.errors import InvalidValue

#: In bytes, as the kernel has it, without the NUL at the end.
_MAX_PATH: Final = 107
#: In characters: a shorter token can be guessed.
_MIN_TOKEN: Final = 16
_MAX_TOKEN: Final = 1024
_MAX_PORT: Final = 65_535

_UNIX: Final = "unix:"
_ADDRESS_HINT: Final = "as in 127.0.0.1:9464, [::1]:9464 or unix:/run/dramatiq-bridge/admin.sock"
_SOCKET_HINT: Final = "as in unix:/run/dramatiq-bridge/admin.sock"
#: The host and the port of an address, each of which may be wrong; an IPv6 address has brackets.
_ADDRESS: Final = re.compile(r"(?:\[(?P<ipv6>[^\[\]]*)\]|(?P<host>[^\[\]:]*)):(?P<port>[^:]*)")
_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")
_NUMBERS: Final = re.compile(r"[0-9.]+")
#: The characters that a header can hold, without the blank.
_TOKEN: Final = re.compile(r"[!-~]+")


def _listen(value: object) -> object:
    value = unmarked(value)
    if isinstance(value, int) and not isinstance(value, bool):
        raise InvalidValue("takes an address with its port, not a port alone", _ADDRESS_HINT)
    if not isinstance(value, str):
        raise InvalidValue(f"takes an address with its port, or the path of a socket, not {describe(value)}")
    if value.startswith(_UNIX):
        _check_path(value.removeprefix(_UNIX))
    else:
        _check_address(value)
    return value


def _check_path(path: str) -> None:
    if not path.startswith("/") or path.endswith("/"):
        raise InvalidValue("takes the absolute path of a socket after unix:", _SOCKET_HINT)
    if "\0" in path:
        raise InvalidValue("takes a path without the character NUL", _SOCKET_HINT)
    if (size := len(path.encode())) > _MAX_PATH:
        raise InvalidValue(f"takes a path of at most {_MAX_PATH} bytes, the kernel's limit; this one has {size}")


def _check_address(text: str) -> None:
    if "://" in text:
        raise InvalidValue("takes an address and a port, not a URL", _ADDRESS_HINT)
    if text.startswith("/"):
        raise InvalidValue("takes unix: before the path of a socket", _SOCKET_HINT)
    if text.isascii() and text.isdecimal():
        raise InvalidValue("takes an address with its port, not a port alone", _ADDRESS_HINT)
    match = _ADDRESS.fullmatch(text)
    if match is None:
        if text.count(":") > 1 and "[" not in text:
            raise InvalidValue("takes an IPv6 address in brackets", "as in [::1]:9464")
        raise InvalidValue("takes an address with its port, or the path of a socket", _ADDRESS_HINT)
    host, port = match["ipv6"] if match["host"] is None else match["host"], match["port"]
    if host in {"", "*"}:
        raise InvalidValue("takes an address before the port", "127.0.0.1 is this machine alone, 0.0.0.0 everybody")
    if match["host"] is None and not _is_ipv6(host):
        raise InvalidValue("takes an IPv6 address in brackets", "as in [::1]:9464")
    if match["host"] is not None and not _is_host(host):
        raise InvalidValue("takes the name or the address of this machine", _ADDRESS_HINT)
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= _MAX_PORT):
        raise InvalidValue(f"takes a port from 1 to {_MAX_PORT}", _ADDRESS_HINT)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_host(text: str) -> bool:
    """Tell whether `text` is a name, or an IPv4 address with all its four numbers."""
    if not _NUMBERS.fullmatch(text):
        return bool(_HOST.fullmatch(text)) and ".." not in text
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _token(value: object) -> object:
    token = secret(unmarked(value))
    if isinstance(token, SecretStr):
        text = token.get_secret_value()
        if len(text) < _MIN_TOKEN:
            # Without quotes: quoted text in the mistakes of a ${...} is masked.
            hint = "the command openssl rand -hex 16 makes one"
            raise InvalidValue(f"takes a token of at least {_MIN_TOKEN} characters; this one has {len(text)}", hint)
        if len(text) > _MAX_TOKEN or not _TOKEN.fullmatch(text):
            raise InvalidValue(
                f"takes a token of at most {_MAX_TOKEN:,} letters, digits and signs of ASCII, without blanks",
                "no other fits into a header",
            )
    return token


def _name_of_host(name: str) -> str:
    bare = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    if not (_is_ipv6(bare) or _is_host(bare)):
        raise InvalidValue("takes the name of a host, without a scheme and a port", "as in bridge.example.com")
    return name


class AdminSettings(Model):
    """The admin server, which is off without this section."""

    listen: Annotated[
        Name, BeforeValidator(_listen), WithJsonSchema({"type": "string", "pattern": r"^(unix:/.+|.+:[0-9]+)$|\$\{"})
    ] = Field(
        default="127.0.0.1:9464",
        description="address and port, or the path of a Unix socket, which only this user and root may use",
        examples=["127.0.0.1:9464", "unix:/run/dramatiq-bridge/admin.sock"],
    )
    token: Annotated[SecretStr | None, BeforeValidator(or_null(_token))] = Field(
        default=None,
        description="token of those who may change something; without it an address only shows, and a socket needs none",
        examples=["${ADMIN_TOKEN}"],
    )
    hosts: list[Annotated[Name, AfterValidator(_name_of_host)]] = Field(
        default=[],
        description="names by which clients may come, besides localhost and the address itself",
        examples=[["bridge.example.com"]],
    )

    @property
    def unix_path(self) -> str | None:
        """The path of the Unix socket, None for an address."""
        if not self.listen.startswith(_UNIX):
            return None
        # As in a URL, a path may begin with three slashes.
        return "/" + self.listen.removeprefix(_UNIX).lstrip("/")

    @property
    def host(self) -> str:
        """The name or the address, without brackets; "" for a Unix socket."""
        return "" if self.unix_path is not None else self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port; 0 for a Unix socket."""
        return 0 if self.unix_path is not None else int(self.listen.rpartition(":")[2])
