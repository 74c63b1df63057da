"""The line that is shown under a mistake, with every secret in it masked."""

from __future__ import annotations

import bisect
import re
from functools import lru_cache
from typing import Final

from bridge.config.wording import near_miss

# The line breaks of YAML 1.1: both of pyyaml's parsers count them.
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_URL_PASSWORD = re.compile(r"://[^:@/\s]*:(\S+)@")
_URL_QUERY = re.compile(r"(?i)[?&;][a-z_-]*(?:pass|secret|token)[a-z_-]*=([^&;\s\"']+)")
_KEY = re.compile(r"([\w-]+)[\"']?\s*:(?:\s+|$)(.*)$")
#: A reference without a fallback, or with an empty one: showing it shows no secret.
_REFERENCE = re.compile(r"[\"']?\$\{(?:(?:file|credential):[^{}]*|[A-Za-z_]\w*(?::-)?)\}[\"']?")
# `password:hunter2` and `password=hunter2`: meant as a key, but none in YAML.
_NO_KEY = re.compile(r"([\w-]+)[:=](\S.*)$")
# Secrets in a file that cannot be read: `password hunter2`, `u:hunter2@`, `:-hunter2}`.
_BROKEN = re.compile(r"([\w-]+)[\"']?[\s:=]+(\S.*)$")
_CREDENTIALS = re.compile(r"[^\s:@]*:(\S+)@|:-([^}]*)\}?")
_MAX_SHOWN: Final = 200
MASK: Final = "***"

Region = tuple[int, int]


@lru_cache(maxsize=1024)
def is_secret(key: str) -> bool:
    """Tell whether a key names a secret; a misspelt `password` does too."""
    word = key.lower().replace("-", "").replace("_", "")
    return (
        any(part in word for part in ("password", "passwd", "passphrase", "secret", "token"))
        or word in {"pass", "pwd", "pw", "apikey"}
        or bool(near_miss(word, ("password", "passwd"), 0.7))
    )


def url_secrets(text: str) -> list[Region]:
    """Return where a whole scalar, if it is a URL, holds a password."""
    regions = [parameter.span(1) for parameter in _URL_QUERY.finditer(text)]
    # Greedy up to the last @, over spaces too: half a password must not be shown.
    if password := re.search(r"://[^:@/\s]*:(.+)@", text, re.DOTALL):
        regions.append(password.span(1))
    return [region for region in regions if not _REFERENCE.fullmatch(text[slice(*region)])]


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
        text = self._text[start:end]
        if self.incomplete and self._continues_secret(line):
            return ""
        regions = [(max(a - start, 0), min(b - start, len(text))) for a, b in self._secrets if a < end and b > start]
        for pattern in (_URL_PASSWORD, _URL_QUERY):
            regions += [secret.span(1) for secret in pattern.finditer(text) if not is_reference(secret[1])]
        regions += _after_secret_words(text, _BROKEN if self.incomplete else _NO_KEY)
        if self.incomplete:
            regions += [secret.span(secret.lastindex or 0) for secret in _CREDENTIALS.finditer(text)]
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
                return any(is_secret(key[1]) for key in keys) and not (ended and _KEY.search(own))
        return False


def _after_secret_words(text: str, pattern: re.Pattern[str]) -> list[Region]:
    regions = []
    position = 0
    while pair := pattern.search(text, position):
        position = pair.end(1)
        if is_secret(pair[1]) and not is_reference(pair[2].strip()):
            regions.append(pair.span(2))
    return regions


def _masked(text: str, regions: list[Region], caret: int) -> str:
    """Mask the regions, and change the indentation so that the character at `caret` stays in its column."""
    out: list[str] = []
    position = moved = 0
    for start, end in _merged(regions):
        out += (text[position:start], MASK)
        position = end
        if start < caret:
            moved += (min(end, caret) - start) - (len(MASK) if caret >= end else 0)
    shown = "".join(out) + text[position:]
    if moved >= 0:
        return " " * moved + shown
    indentation = len(shown) - len(shown.lstrip())
    return shown[min(-moved, indentation) :]


def _merged(regions: list[Region]) -> list[Region]:
    merged: list[Region] = []
    for start, end in sorted(region for region in regions if region[0] < region[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
