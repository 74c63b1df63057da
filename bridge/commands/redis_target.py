"""The Redis that `--redis` names, as `dramatiq:` of a file would."""

from __future__ import annotations

import os
from typing import Final

from pydantic import ValidationError

from bridge.config import Dramatiq
from bridge.config.checks import ends_early
from bridge.config.substitution import Substitution
from bridge.errors import UsageError

DEFAULT_URL: Final = "redis://localhost:6379/0"


def given_redis(text: str | None, namespace: str) -> Dramatiq:
    """Return the settings of `--redis` and `--namespace`; without a URL, those of a Redis on this machine.

    Raises:
        UsageError: one of them can't be used.
    """
    # As in the file: a process list shows ${NAME}, and no password.
    text = text or DEFAULT_URL
    url, pieces, unresolved = Substitution(os.environ).apply(text)
    if unresolved:
        raise UsageError(f"--redis: {unresolved[0]}")
    if ends_early(text, pieces):
        raise UsageError(
            "--redis: the substituted text holds a character that has a meaning in URLs: percent-encode it"
        )
    try:
        return Dramatiq(url=url, namespace=namespace)
    except ValidationError as error:
        # Pydantic's own message would show the URL, which may hold a password.
        first = error.errors()[0]
        option = "--redis" if first["loc"] == ("url",) else "--namespace"
        raise UsageError(f"{option} {first['ctx']['error']}") from None
