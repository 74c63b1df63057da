"""The line that is shown under a mistake, with every secret in it masked."""

from __future__ import annotations

import bisect
import re
from functools import lru_cache
from typing import Final

from bridge.config.urls import Region, merged
from bridge.config.urls import url_secrets as secrets_of_url
from bridge.config.wording import nearest
from bridge.errors import KeyPath
from bridge.observe.masking import MASK

# The line breaks of YAML 1.1: both of pyyaml's parsers count them.
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
# A look-behind before a run of characters: to try each of them as its first one takes quadratic time.
# Brackets and a comma may belong to YAML or to the URL.
_URL = re.compile(r"(?<![\w+.-])[\w+.-]*://[^\s\"']*")
_BROKEN_URL = re.compile(r"(?<![\w+.-])[\w+.-]*://.*")
_KEY = re.compile(r"(?<![\w-])([\w-]+)[\"']?\s*:(?:\s+|$)(.*)$")
#: A reference without a fallback, or with an empty one: showing it shows no secret.
_REFERENCE = re.compile(r"[\"']?\$\{(?:(?:file|credential):[^{}]*|[A-Za-z_]\w*(?::-)?)\}[\"']?")
# `password:hunter2` and `password=hunter2`: meant as a key, but none in YAML.
_NO_KEY = re.compile(r"(?<![\w-])([\w-]+)[:=](\S.*)$")
# Secrets in a file that cannot be read: `password hunter2`, `u:hunter2@`, `:-hunter2}`.
_BROKEN = re.compile(r"(?<![\w-])([\w-]+)[\"']?[\s:=]+(\S.*)$")
_CREDENTIALS = re.compile(r"(?<![^\s\"'@])([^\s\"'@]+)@")
_FALLBACK = re.compile(r":-([^}]*)\}?")
_MAX_SHOWN: Final = 200
#: In a longer line nothing is looked for, which takes quadratic time: it is not shown.
_MAX_SEARCHED: Final = 4096
#: Characters of a key that make no other word of it. The keys of a fleet mostly differ in their numbers.
_MEANINGLESS: Final = str.maketrans("", "", "-_0123456789")
#: Keys whose value may be a token: misspelt ones too.
_USERS: Final = ("username", "user", "login", "userid")
#: The ends of keys of secrets. `key` and `sig` are none, as they are in a URL: `tls.key`, a path, and `routing_key` are shown.
_SECRET_ENDS: Final = (
    *("pass", "pwd", "auth", "authentication", "authorization", "cred", "creds", "credential", "credentials"),
    *("apikey", "accesskey", "accountkey", "authkey", "privatekey", "sharedkey", "signature"),
)
#: Keys of a URL, or of a part of it that may hold its user and password.
_ADDRESSES: Final = frozenset({"url", "uri", "host", "hostname", "broker", "server", "address", "dsn"})


@lru_cache(maxsize=1024)
def is_secret(key: str) -> bool:
    """Tell whether a key names a secret; a misspelt `password` does too."""
    return _is_secret(_word(key))


@lru_cache(maxsize=1024)
def is_user(key: str) -> bool:
    """Tell whether a key names a user; a misspelt `username` does too, and `server_name` is none."""
    return _is_user(_word(key))


def _word(key: str) -> str:
    return key.lower().translate(_MEANINGLESS)


@lru_cache(maxsize=1024)
def _is_secret(word: str) -> bool:
    return (
        any(part in word for part in ("password", "passwd", "passphrase", "secret", "token"))
        or word in {"pw", "jwt", "bearer"}
        or word.endswith(_SECRET_ENDS)
        or bool(nearest(word, ("password", "passwd"), 0.7))
    )


@lru_cache(maxsize=1024)
def _is_user(word: str) -> bool:
    return bool(nearest(word, _USERS, 0.8))


def is_secret_path(path: KeyPath) -> bool:
    """Tell whether a value may be secret by its keys: a user name too, which is a token where there is no password.

    A source may have any name, such as `auth`: only its settings are asked.
    """
    steps = path[2:] if len(path) > 2 and path[0] == "sources" else path
    key = ""
    for step in steps:
        if isinstance(step, str):
            if is_secret(step):
                return True
            key = step
    return bool(key) and is_user(key)


def is_address(path: KeyPath) -> bool:
    """Tell whether a value may have a user and a password before its last @, though it is no URL."""
    return bool(path) and path[-1] in _ADDRESSES


def url_secrets(text: str) -> list[Region]:
    """Return where a whole scalar, if it is a URL, holds a secret; a reference to one is none."""
    return [region for region in secrets_of_url(text) if not _REFERENCE.fullmatch(text[slice(*region)])]


def is_reference(text: str) -> bool:
    """Tell whether the text is one reference: it names a secret but is not secret."""
    return bool(_REFERENCE.fullmatch(text))


class RedactedSource:
    """The text of a file by lines, and the regions of it that are never shown."""

    def __init__(self, text: str) -> None:
        self._text = text
        breaks = list(_BREAK.finditer(text))
        self._starts = [0, *(line_break.end() for line_break in breaks)]
        self._ends = [*(line_break.start() for line_break in breaks), len(text)]
        self._secrets: list[Region] = []
        #: Set when the file could not be read to its end: then lines are also searched for text that looks secret.
        self.incomplete = False

    def hide(self, start: int, end: int) -> None:
        """Never show these characters of the file."""
        if start < end:
            self._secrets.append((start, end))

    def position(self, index: int) -> tuple[int, int]:
        """Return the line and the column, from 1, of a character."""
        line = bisect.bisect_right(self._starts, index)
        return line, index - self._starts[line - 1] + 1

    def end_of_line(self, index: int) -> int:
        """Return where the line of a character ends."""
        return self._ends[self.position(index)[0] - 1]

    def show(self, line: int, column: int) -> str:
        """Return the line without its secrets, such that a caret under `column` points to the same character."""
        if not 0 < line <= len(self._starts):
            return ""
        start, end = self._starts[line - 1], self._ends[line - 1]
        if end - start > _MAX_SEARCHED:
            return ""
        text = self._text[start:end]
        if self.incomplete and self._continues_secret(line):
            return ""
        regions = [(max(a - start, 0), min(b - start, len(text))) for a, b in self._secrets if a < end and b > start]
        for url in (_BROKEN_URL if self.incomplete else _URL).finditer(text):
            regions += [(url.start() + a, url.start() + b) for a, b in url_secrets(url[0])]
        regions += _after_secret_words(text, _BROKEN if self.incomplete else _NO_KEY)
        if self.incomplete:
            regions += [secret.span(1) for secrets in (_CREDENTIALS, _FALLBACK) for secret in secrets.finditer(text)]
        shown = _masked("".join(char if char.isprintable() else " " for char in text), regions, column - 1)
        if len(shown) <= _MAX_SHOWN:
            return shown.rstrip()
        return f"{shown[:_MAX_SHOWN]}…" if column <= _MAX_SHOWN else ""

    def _continues_secret(self, line: int) -> bool:
        """Tell whether this line may belong to the value of a secret key further up."""
        own = self._text[self._starts[line - 1] : self._ends[line - 1]]
        for above in range(line - 2, max(line - 20, -1), -1):
            text = self._text[self._starts[above] : self._ends[above]]
            if keys := list(_KEY.finditer(text)):
                ended = keys[-1][2].strip() and not keys[-1][2].startswith(("|", ">", '"', "'"))
                return any(_is_secret_or_user(key[1]) for key in keys) and not (ended and _KEY.search(own))
        return False


def _is_secret_or_user(key: str) -> bool:
    return is_secret(key) or is_user(key)


def _after_secret_words(text: str, pattern: re.Pattern[str]) -> list[Region]:
    regions = []
    position = 0
    while pair := pattern.search(text, position):
        position = pair.end(1)
        if (_is_secret_or_user if pattern is _BROKEN else is_secret)(pair[1]) and not is_reference(pair[2].strip()):
            regions.append(pair.span(2))
    return regions


def _masked(text: str, regions: list[Region], caret: int) -> str:
    """Mask the regions, and change the indentation so that the character at `caret` stays in its column."""
    out: list[str] = []
    position = moved = 0
    for start, end in merged(regions):
        out += (text[position:start], MASK)
        position = end
        if start < caret:
            moved += (min(end, caret) - start) - (len(MASK) if caret >= end else 0)
    shown = "".join(out) + text[position:]
    if moved >= 0:
        return " " * moved + shown
    indentation = len(shown) - len(shown.lstrip())
    return shown[min(-moved, indentation) :]
