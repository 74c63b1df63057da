"""Another client with the same client_id: the broker gives the session to the one that connected last."""

from __future__ import annotations

from typing import Final

from bridge.backoff import Backoff
from bridge.errors import Disconnected

#: After so many short connections in a row, each ended by the broker, another client is the likely cause.
_SUSPECT_AFTER: Final = 3
#: Longer than the other client waits before it reconnects.
_SHORT_CONNECTION_S: Final = 20.0
#: At most halved by jitter: long enough to let the other client work for a while, and back within 10 s of its end.
_TAKEOVER_RETRY_S: Final = 9.0


class TakeoverDetector:
    """Finds another client that uses the same client_id, and leaves the session to it for a while.

    MQTT 5 has a reason code for it, which mosquitto 2.0.21 sends. mosquitto 2.0.11 closes the connection without a word, and
    so does each to MQTT 3.1.1 (observed).
    """

    def __init__(self, client_id: str | None) -> None:
        self._client_id = client_id
        self._short_connections = 0

    def explain(self, ended: Disconnected, *, taken_over: bool, lasted_s: float | None) -> Disconnected:
        """Return `ended`, or one with the takeover as its cause and a longer wait before the next attempt.

        `taken_over` says that the broker reported it. `lasted_s` is the seconds from CONNACK until the broker closed the
        connection, None if it ended otherwise.
        """
        if self._client_id is None:
            return ended
        short = lasted_s is not None and lasted_s < _SHORT_CONNECTION_S
        self._short_connections = self._short_connections + 1 if short else 0
        if taken_over:
            cause = f"another client with client_id {self._client_id!r} has taken the session over"
        elif self._short_connections >= _SUSPECT_AFTER:
            cause = (
                f"{ended.cause}, again and again soon after it was made: perhaps another client uses"
                f" client_id {self._client_id!r}, or the broker refuses something without a word"
            )
        else:
            return ended
        return Disconnected(cause, retry_s=Backoff(first_s=_TAKEOVER_RETRY_S, max_s=_TAKEOVER_RETRY_S).next())
