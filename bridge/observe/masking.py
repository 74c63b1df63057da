"""Texts without secrets: a server may quote a user name that is a token, and a library a URL."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

MASK: Final = "***"
#: In characters: a shorter secret is a part of too many words.
_MIN_SECRET: Final = 4
#: In characters: a shorter beginning of a secret may be any word.
_MIN_BEGINNING: Final = 8
#: Where somebody has cut a text, or one that it quotes: RabbitMQ at 255 bytes with `...`, Redis at 128 without (observed).
_CUT: Final = re.compile(r"\.\.\.|…|[\"'`]|\s*$")

#: Those of this process.
_secrets: Final[set[str]] = set()


def set_secrets(secrets: Iterable[str]) -> None:
    """Set the secrets that `without_secrets` masks, instead of those before."""
    _secrets.clear()
    _secrets.update(secrets)


def without_secrets(text: str) -> str:
    """Return `text` without the secrets of this process; whoever cuts a text of others masks it before."""
    return masked(text, _secrets)


def masked(text: str, secrets: Iterable[str]) -> str:
    """Return `text` without the secrets, and without the beginning of one, of 8 characters or more, that was cut."""
    forms = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
    for form in forms:
        if len(form) >= _MIN_SECRET:
            text = text.replace(form, MASK)
    for form in forms:
        if len(form) > _MIN_BEGINNING:
            text = _without_beginning(text, form)
    return text


@lru_cache(maxsize=4096)
def _forms(secret: str) -> tuple[str, ...]:
    """Return a secret as it stands in a text: itself, and as Python quotes it, alone or in a text with other quotes."""
    if len(secret) < _MIN_SECRET or (secret.isprintable() and "\\" not in secret and "'" not in secret):
        return (secret,)
    escaped = repr(f'"{secret}')[2:-1]
    return secret, escaped, escaped.replace("\\'", "'")


def _without_beginning(text: str, secret: str) -> str:
    start = text.find(secret[:_MIN_BEGINNING])
    while start >= 0:
        end = start + _MIN_BEGINNING
        while text[end : end + 1] == secret[end - start : end - start + 1] != "":
            end += 1
        if _CUT.match(text, end):
            text = f"{text[:start]}{MASK}{text[end:]}"
        start = text.find(secret[:_MIN_BEGINNING], start + 1)
    return text
