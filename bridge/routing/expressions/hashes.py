"""Hashes of text and bytes: for ids, for groups, and for signatures."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from typing import Any, Final
from zlib import crc32

from bridge.config.wording import quoted
from bridge.routing.expressions.text import key_text
from bridge.routing.expressions.values import bounded, bytes_of, refuse

_MAX_BUCKETS: Final = 1024
_HASHES: Final = ("sha256", "sha1", "sha512")
_CODINGS: Final = ("hex", "base64")
_UUID: Final = "[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
#: RFC 9562, section 6.6.
_NAMESPACES: Final = {
    "dns": bytes.fromhex("6ba7b8109dad11d180b400c04fd430c8"),
    "url": bytes.fromhex("6ba7b8119dad11d180b400c04fd430c8"),
    "oid": bytes.fromhex("6ba7b8129dad11d180b400c04fd430c8"),
}


def sha256_of(value: object) -> str:
    """`sha256(x)` of bytes, or of text in UTF-8, in hexadecimal digits."""
    return hashlib.sha256(bytes_of("sha256()", value)).hexdigest()


def _bounded(name: str, value: object) -> bytes:
    return bytes_of(name, bounded(name, value) if type(value) is str else value)


def md5_of(value: object) -> str:
    """`md5(x)`: for ids of other programs, and not for safety."""
    return hashlib.md5(_bounded("md5()", value), usedforsecurity=False).hexdigest()


def sha1_of(value: object) -> str:
    """`sha1(x)`: for ids of other programs, and not for safety."""
    return hashlib.sha1(_bounded("sha1()", value), usedforsecurity=False).hexdigest()


def hmac_of(key: object, value: object, digest: object = "sha256", coding: object = "hex") -> str:
    """`hmac(key, x)`, `hmac(key, x, hash)`, `hmac(key, x, hash, coding)`: the signature of x, as text."""
    check_hash(digest)
    check_coding(coding)
    signature = hmac.digest(_bounded("hmac()", key), _bounded("hmac()", value), str(digest))
    return signature.hex() if coding == "hex" else b64encode(signature).decode("ascii")


def check_hash(name: object) -> None:
    """Check the hash of `hmac`. Raises ValueError if it is none."""
    if type(name) is not str or name not in _HASHES:
        raise ValueError(f"{quoted(name)} is no hash of hmac(): they are {', '.join(_HASHES)}")


def check_coding(name: object) -> None:
    """Check the coding of a signature. Raises ValueError if it is none."""
    if type(name) is not str or name not in _CODINGS:
        raise ValueError(f"{quoted(name)} is no coding of hmac(): they are {', '.join(_CODINGS)}")


def uuid5(name: object, *namespaces: Any) -> str:
    """`uuid5(name)`, `uuid5(name, namespace)`: the same id for the same name, for ever."""
    if type(name) is not str:
        refuse("uuid5()", "text", name)
    space = namespace_of(*namespaces) if namespaces else _NAMESPACES["url"]
    digits = hashlib.sha1(space + bounded("uuid5()", name).encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def namespace_of(namespace: object) -> bytes:
    """Return the bytes of a namespace. Raises TypeError or ValueError if it is none."""
    if type(namespace) is not str:
        refuse("a namespace", "text", namespace)
    found = _NAMESPACES.get(namespace)
    if found is None:
        if not re.fullmatch(_UUID, namespace):
            raise ValueError(f'{quoted(namespace)} is no namespace: it is "url", "dns", "oid" or a UUID')
        found = bytes.fromhex(namespace.replace("-", ""))
    return found


def bucket(key: object, count: int) -> int:
    """`bucket(key, n)`: a number below n, of the same key always the same."""
    if key is None:
        refuse("bucket()", "a key", key)
    check_buckets(count)
    return crc32(key_text(key).encode()) % count


def check_buckets(count: Any) -> None:
    """Check the number of buckets. Raises TypeError or ValueError."""
    if type(count) is not int:
        refuse("bucket()", "a whole number of buckets", count)
    if not 1 <= count <= _MAX_BUCKETS:
        raise ValueError(f"there are 1 to {_MAX_BUCKETS} buckets, not {quoted(count)}")
