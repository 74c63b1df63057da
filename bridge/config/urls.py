"""URLs of brokers: checked, split, and shown without their passwords."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from bridge.config.wording import listed
from bridge.errors import InvalidValue

# Greedy up to the last @ on purpose: of a password with a raw / or @ in it no half must be shown.
_USERINFO = re.compile(r"(://[^:@/\s]*):.*@", re.DOTALL)
_QUERY = re.compile(r"(?i)([?&;][a-z_-]*(?:pass|secret|token)[a-z_-]*=)[^&;\s]*")

#: Options of TLS that client libraries read from a URL; the bridge makes the TLS context itself.
_TLS_OPTION = re.compile(r"(^|&)(ssl_\w+|ca(file|path|data)|certfile|keyfile|no_verify_ssl)=")


def redacted_url(url: str) -> str:
    """Return the URL without its password, for logs and errors."""
    return _QUERY.sub(r"\1***", _USERINFO.sub(r"\1:***@", url))


def split_url(url: str) -> SplitResult | None:
    """Return the parts of a URL, or None where it cannot be split."""
    try:
        parts = urlsplit(url)
        # The port is parsed on access only, and raises then.
        _ = parts.port
    except ValueError:
        return None
    return parts


def check_url(url: str, schemes: Iterable[str]) -> str:
    """Return the URL if it has one of the schemes, a host (a path for `unix`), a possible port, and no option of TLS.

    Raises InvalidValue, whose message never quotes the URL: it may hold a password.
    """
    begins = listed(f"{scheme}://" for scheme in schemes)
    if not any(url.startswith(f"{scheme}://") for scheme in schemes):
        raise InvalidValue(f"takes a URL that begins with {begins}")
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
        if not parts.path.strip("/"):
            raise InvalidValue("this URL names no socket", "as in unix:///run/redis/redis.sock")
    elif not parts.hostname:
        raise InvalidValue("this URL names no host", f"as in {parts.scheme}://localhost")
    return url
