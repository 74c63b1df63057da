"""Asks Dramatiq's Redis for the positions of a source, until it answers."""

from __future__ import annotations

from typing import Any

from bridge.config import Dramatiq
from bridge.observe.log_fields import without_numbers
from bridge.observe.logs import RepeatedLog, logger
from bridge.redis_io.connection import Word
from bridge.redis_io.patience import ask_until_answered

log = logger()


class PositionRedis:
    """Dramatiq's Redis as `source` asks it for its positions; while it does not answer, that is said."""

    def __init__(self, source: str, dramatiq: Dramatiq) -> None:
        self._source = source
        self._dramatiq = dramatiq
        self._repeated = RepeatedLog()

    async def ask(self, *command: Word) -> Any:
        """Return the reply to `command`; waits for Redis."""
        (reply,) = await ask_until_answered(self._dramatiq, [command], self._log_failure)
        return reply

    def _log_failure(self, cause: str, wait_s: float) -> None:
        self._repeated.write(
            without_numbers(cause),
            log.warning,
            "source.position_unknown",
            source=self._source,
            cause=cause,
            retry_in=round(wait_s, 2),
        )
