"""Compressed bodies: one layer of gzip, deflate or zstd, whose end is found, and no byte more than `max_body`."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from bridge.errors import BadEvent
from bridge.routing.charset import CHARSETS

#: Every name of an encoding, in lower case; "" is none. kombu, Celery's library, writes application/x-gzip for zlib's
#: format.
_NAMES: Final = {
    **dict.fromkeys(("", "none", "identity", "binary", "7bit", "8bit", *CHARSETS), ""),
    **dict.fromkeys(("gzip", "x-gzip", "application/gzip", "application/x-gzip"), "gzip"),
    **dict.fromkeys(("deflate", "zlib", "application/zlib"), "deflate"),
    **dict.fromkeys(("zstd", "zstandard", "application/zstd"), "zstd"),
}
#: kombu's header; a program that is not kombu may mean anything by it.
_KOMBU: Final = "compression"
_HEADERS: Final = ("content-encoding", _KOMBU)
#: A member takes at least 18 bytes, and each one a copy of the rest.
_MAX_MEMBERS: Final = 100
_GZIP_MAGIC: Final = b"\x1f\x8b"
#: The signatures that no text in UTF-8 begins with.
_MAGICS: Final = {b"\x1f\x8b\x08": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_GZIP, _ZLIB, _RAW = 31, 15, -15
#: The decoder keeps so much of what it has decoded: 8 MiB, as RFC 8878 recommends.
_ZSTD_WINDOW_LOG: Final = 23
ZSTD_EXTRA: Final = "pip install 'dramatiq-bridge[zstd]'"


def declared_encoding(headers: Mapping[str, object], meta: Mapping[str, object]) -> str:
    """Return the encoding that an event declares: its property, or else a header.

    Raises:
        BadEvent: it has no decoder here.
    """
    values = [("", meta.get("content_encoding"))]
    values += [(name.lower(), value) for name, value in headers.items() if name.lower() in _HEADERS]
    for name, value in values:
        if isinstance(value, str) and (name != _KOMBU or value.startswith("application/")):
            encoding = _NAMES.get(value.strip().lower())
            if encoding is None:
                raise BadEvent("decode", f"no decoder for the content encoding {value[:80]!r}")
            if encoding:
                return encoding
    return ""


def signature(body: bytes) -> str:
    """Return the encoding whose signature a body has, or "". That of "deflate", zlib's, a text may have by chance."""
    for magic, encoding in _MAGICS.items():
        if body.startswith(magic):
            return encoding
    return "deflate" if body[:1] == b"x" and int.from_bytes(body[:2]) % 31 == 0 else ""


def decompressed(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return what `encoding` holds in a body.

    Raises:
        BadEvent: the body is not of this encoding, has not its end, or more behind it; or more than `max_bytes` come
        out.
    """
    try:
        if encoding == "gzip" and body[:2] == _GZIP_MAGIC:
            return _members(lambda: zlib.decompressobj(_GZIP), body, max_bytes)
        if encoding == "zstd":
            return _members(_zstd(), body, max_bytes)
        try:
            return _members(lambda: zlib.decompressobj(_ZLIB), body, max_bytes)
        except zlib.error:
            if encoding == "gzip":
                raise
            return _members(lambda: zlib.decompressobj(_RAW), body, max_bytes)
    except BadEvent as error:
        raise BadEvent(error.reason, f"{encoding}: {error.detail}") from None
    except (zlib.error, _zstd_error()) as error:
        raise BadEvent("decode", f"not {encoding}: {error}"[:300]) from None


def _members(start: Callable[[], Any], body: bytes, max_bytes: int) -> bytes:
    """Return the content of all members, or frames, one behind the other."""
    parts: list[bytes] = []
    size, rest = 0, body
    for _ in range(_MAX_MEMBERS):
        member = start()
        # One byte more than may be: then it is too large, whatever is left of it.
        part = member.decompress(rest, max_bytes + 1 - size)
        size += len(part)
        if size > max_bytes:
            raise BadEvent("too-large", f"the body decompresses to more than max_body, {max_bytes} bytes")
        if not member.eof:
            raise BadEvent("decode", "the body breaks off")
        parts.append(part)
        rest = member.unused_data
        if not rest:
            return b"".join(parts)
        if rest[:2] != body[:2] or body[:2] != _GZIP_MAGIC:
            raise BadEvent("decode", "there are bytes behind its end")
    raise BadEvent("decode", f"more than {_MAX_MEMBERS} members")


@cache
def zstd_module() -> Any:
    """Return the library of zstd, None where there is none: Python has its own from 3.14 on."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def _zstd() -> Callable[[], Any]:
    zstd = zstd_module()
    if zstd is None:
        raise BadEvent("decode", f"no library for it is installed: {ZSTD_EXTRA}")
    options = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    return lambda: zstd.ZstdDecompressor(options=options)


def _zstd_error() -> type[Exception]:
    zstd = zstd_module()
    return zlib.error if zstd is None else zstd.ZstdError
