"""URLs of brokers: checked, split, and shown without their secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from bridge.config.wording import listed
from bridge.errors import InvalidValue
from bridge.observe.masking import MASK

#: The indices of a part of a text.
Region = tuple[int, int]

#: A parameter of a query, or a fragment: its name, and its value if it has one.
_PARAMETER = re.compile(r"[?&;#]([^=&;#\"']*)(?:=([^&;]*?)(?=[\"']?(?:[&;]|$)))?")
#: Values that are no secrets, unless the name of the parameter is that of a secret, or is encoded.
_HARMLESS = re.compile(r"(\d{1,6}|true|false|none|optional|required)[\"'\]},]*", re.IGNORECASE)
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|key|auth|cred|sig|%", re.IGNORECASE)
#: Characters that no user name holds unencoded: with one of them, the secret may have begun before it.
_NO_USER = re.compile(r"[/@?#\s]")

#: Options of TLS that client libraries read from a URL; the bridge makes the TLS context itself.
_TLS_OPTION = re.compile(r"(^|&)(ssl_\w+|ca(file|path|data)|certfile|keyfile|no_verify_ssl)=")

_REDIS: Final = ("redis", "rediss", "unix")
_SOCKET: Final = "as in unix:///run/redis/redis.sock"
#: In bytes, as the kernel has it, without the NUL at the end.
_MAX_PATH: Final = 107
_DATABASE: Final = re.compile(r"[0-9]{1,9}")
_DATABASE_HINTS: Final = ("as in redis://localhost/2", f"{_SOCKET}?db=2")


def url_secrets(text: str, *, has_password: bool = False) -> list[Region]:
    """Return where a URL holds secrets: its password, a user name without a password, and parameters of its query.

    A user name without a password is a token; with `has_password` the password stands beside the URL. Of a parameter
    only a short number or a boolean is not secret. Where the parts of a URL can't be told apart (a raw / or @ in a
    password), too much is secret rather than too little.
    """
    begin = text.find("://") + 3
    if begin < 3:
        return []
    regions = []
    end = text.rfind("@")
    is_path = text[:begin].lower().endswith("unix://") and text.startswith("/", begin)
    if end > begin and not is_path:
        user, _, password = text[begin:end].partition(":")
        shows_user = (password or has_password) and not _NO_USER.search(user)
        regions.append((begin + len(user) + 1 if shows_user else begin, end))
    for parameter in _PARAMETER.finditer(text, begin):
        name, value = parameter[1], parameter[2]
        if value is None or _SECRET_NAME.search(name) or not _HARMLESS.fullmatch(value):
            regions.append(parameter.span(1 if value is None else 2))
    return merged(regions)


def merged(regions: Iterable[Region]) -> list[Region]:
    """Return the regions in order, those that overlap or touch as one."""
    together: list[Region] = []
    for start, end in sorted(region for region in regions if region[0] < region[1]):
        if together and start <= together[-1][1]:
            together[-1] = (together[-1][0], max(end, together[-1][1]))
        else:
            together.append((start, end))
    return together


def redacted_url(url: str, *, has_password: bool = False) -> str:
    """Return the URL without the secrets that `url_secrets` finds, for logs and errors."""
    for start, end in reversed(url_secrets(url, has_password=has_password)):
        url = f"{url[:start]}{MASK}{url[end:]}"
    return url


def secret_texts(url: str, *, has_password: bool = False) -> set[str]:
    """Return the secrets of a URL that `url_secrets` finds, as they stand there."""
    return {url[start:end] for start, end in url_secrets(url, has_password=has_password)}


def spellings(secret: str) -> set[str]:
    """Return the forms in which a library may show a secret of a URL: percent-decoded, and encoded as far as it has to be."""
    decoded = unquote(secret)
    return {secret, decoded, quote(decoded, safe=""), quote(decoded, safe="!$&'()*+,;=")}


def split_url(url: str) -> SplitResult | None:
    """Return the parts of a URL, or None where it cannot be split."""
    try:
        parts = urlsplit(url)
        # The port is parsed on access only, and raises then.
        _ = parts.port
    except ValueError:
        return None
    return parts


#: Schemes of other programs for a connection without TLS, and for one with it.
_PLAIN: Final = frozenset({"tcp", "plain", "plaintext"})
_SECURE: Final = frozenset({"ssl", "tls", "mqtt+ssl", "mqtt+tls", "amqp+ssl", "redis+ssl", "tcps"})


def check_url(url: str, schemes: Iterable[str]) -> str:
    """Return the URL if it has one of the schemes, a host (a path for `unix`), a possible port, and no option of TLS.

    Raises InvalidValue, whose message never quotes the URL: it may hold a password.
    """
    begins = listed(f"{scheme}://" for scheme in schemes)
    if not any(url.startswith(f"{scheme}://") for scheme in schemes):
        raise InvalidValue(f"takes a URL that begins with {begins}", _scheme_hint(url, list(schemes)))
    if any(char.isspace() or not char.isprintable() for char in url):
        raise InvalidValue("a URL cannot hold spaces or control characters", "percent-encode them")
    parts = split_url(url)
    if parts is None:
        raise InvalidValue(
            "the host or the port of this URL cannot be read",
            "percent-encode a special character of the password, or write password: beside url:",
        )
    if _TLS_OPTION.search(parts.query):
        raise InvalidValue("TLS is set beside the URL, not in it", "as in tls: {ca: FILE, verify: true}")
    if parts.scheme == "unix":
        _check_path(parts)
    elif not parts.hostname:
        raise InvalidValue("this URL names no host", f"as in {parts.scheme}://localhost")
    if parts.scheme in _REDIS:
        _check_database(parts)
    return url


def _scheme_hint(url: str, schemes: Sequence[str]) -> str:
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme.lower() in schemes:
        return f"write {scheme.lower()}:// in small letters"
    ours = {_PLAIN: schemes[0], _SECURE: schemes[1] if len(schemes) > 1 else schemes[0]}
    return next(
        (f"{scheme}:// is called {name}:// here" for words, name in ours.items() if scheme.lower() in words), ""
    )


def _check_path(parts: SplitResult) -> None:
    path = unquote(parts.path)
    if parts.hostname:
        # As in unix://run/redis.sock, whose `run` is a host.
        raise InvalidValue("the path of a socket begins with /", _SOCKET)
    if not path.strip("/"):
        raise InvalidValue("this URL names no socket", _SOCKET)
    if not path.isprintable():
        raise InvalidValue("the path of a socket cannot hold control characters")
    if len(path.encode()) > _MAX_PATH:
        raise InvalidValue(f"the path of a socket has at most {_MAX_PATH} bytes")


def _check_database(parts: SplitResult) -> None:
    """Check the database of a Redis, and that the query of its URL holds nothing that the bridge would ignore."""
    try:
        query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        query = {"": [""]}
    if query.keys() - {"db", "username", "password"}:
        raise InvalidValue("the query of this URL can hold db, as in ?db=2", "timeouts are set beside the URL")
    numbers = query.get("db", [])
    if parts.scheme != "unix" and parts.path.strip("/"):
        numbers = [*numbers, unquote(parts.path).strip("/")]
    if not all(_DATABASE.fullmatch(number) for number in numbers):
        raise InvalidValue("the database in this URL is no number", _DATABASE_HINTS[parts.scheme == "unix"])
    if len({int(number) for number in numbers}) > 1:
        raise InvalidValue("this URL names two databases", "write one of them")
