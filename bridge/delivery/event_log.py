"""At `debug`, one line for each event: its ids, what became of it, which routes fit, and why the others did not.

It runs each event once more through routes of its own, as `dramatiq-bridge route` does, and so costs many times as
much as the event itself. Above `debug` there is none.
"""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec

from bridge.config import Config
from bridge.delivery.left_out import LeftOut
from bridge.dry_run.results import Result, RouteResult
from bridge.dry_run.runs import DryRun
from bridge.errors import BadEvent, describe_error
from bridge.model.accounting import Outcome
from bridge.model.batch import Batch
from bridge.model.event import Event
from bridge.model.repeats import written_letters
from bridge.observe.logs import logger
from bridge.observe.masking import masked
from bridge.routing.redaction import Redaction

log = logger()
#: Of the routes that do not fit, so many are named; there may be thousands.
_MAX_ROUTES: Final = 20
#: In CPU time, of one batch; one event more may be explained.
_MAX_EXPLAINING_S: Final = 0.05
_POISON: Final = {"cause": "not run again, since it has ended a process before"}
_UNEXPLAINED: Final = {
    "cause": "not explained, since there are too many events at once: `dramatiq-bridge route` explains it"
}


class EventLog:
    """Logs the events of the sources of one configuration."""

    def __init__(self, config: Config) -> None:
        self._routes = DryRun(config)
        self._redaction = Redaction.of(config)
        self._secrets = config.table_secrets

    def written(self, batch: Batch, outcome: Outcome, *, redelivers: bool = True) -> None:  # noqa: ARG002 - see `Observer`
        """Log each event of a batch; see `Observer`.

        Explanations have a bound: thousands of routes, or long conditions, would keep the event loop from all else.
        """
        end = time.thread_time() + _MAX_EXPLAINING_S
        for part in batch.unsplit_parts():
            became = outcome.value if part.written is None else Outcome.WRITTEN.value
            left_out = LeftOut(part)
            messages = _messages(part, left_out)
            # Of a batch that is not written nobody has redacted them before.
            redacted = [(index, self._redaction.letter(letter)) for index, letter in reversed(written_letters(part))]
            letters = {index: f"{letter.reason}: {letter.detail}" for index, letter in redacted}
            for index, event in enumerate(part.events):
                log.debug(
                    "event.outcome",
                    outcome=_outcome(index, part, became, is_letter=index in letters),
                    source=event.source,
                    topic=event.topic,
                    **event_ids(self._redaction.event(event)),
                    redelivered=event.redelivered or None,
                    duplicate=index in left_out.duplicates or None,
                    messages=messages.get(index),
                    dead_letter=letters.get(index),
                    **self._explanation(part, index, left_out, letters.get(index, ""), end),
                )

    def _explanation(self, part: Batch, index: int, left_out: LeftOut, letter: str, end: float) -> dict[str, Any]:
        if letter.startswith("poison:"):
            return _POISON
        return self._explain(part, index, left_out) if time.thread_time() < end else _UNEXPLAINED

    def _explain(self, part: Batch, index: int, left_out: LeftOut) -> dict[str, Any]:
        event = part.events[index]
        try:
            hide = self._redaction.hiding(event)
            result = left_out.result(index, self._routes.run(event, moment_of(part, index)))
            cause = _cause(result)
            routes = {name: masked(hide(verdict), self._secrets) for name, verdict in _routes(result).items()}
            return {"routes": routes, "cause": None if cause is None else hide(cause)}
        except Exception as error:  # noqa: BLE001 - an explanation that fails must not end the bridge
            return {"cause": f"no explanation: {describe_error(error)}"}


def _outcome(index: int, part: Batch, became: str, *, is_letter: bool) -> str:
    if is_letter:
        return "dead-lettered"
    return "expired" if index in part.expired and became == Outcome.WRITTEN.value else became


def moment_of(batch: Batch, index: int) -> int:
    """Return the time at which to run an event once more, in epoch milliseconds.

    It is the time when the event came, or the present if the event has expired since.
    """
    return time.time_ns() // 1_000_000 if index in batch.expired else batch.events[index].received_at_ms


def event_ids(event: Event) -> dict[str, Any]:
    """Return the ids by which the sender and the broker know the event, as far as there are any."""
    try:
        meta = event.details()[1]
    except BadEvent:
        return {}
    return {name: meta[name] for name in ("message_id", "correlation_id", "entry_id") if meta.get(name) is not None}


def _messages(part: Batch, left_out: LeftOut) -> dict[int, list[str]]:
    """Return the message ids of each event, by its place, with their queues."""
    found: dict[int, list[str]] = {}
    for number, (queue, column) in enumerate(part.queues.items(), 1):
        for place, (index, (_, body)) in enumerate(zip(column.event_indexes, column.messages, strict=True)):
            if (number, place) in left_out.places:
                continue
            message = msgspec.json.decode(body)
            found.setdefault(index, []).append(f"{message['message_id']} for {message['actor_name']} in {queue}")
    return found


def _routes(result: Result) -> dict[str, str]:
    verdicts: dict[str, str] = {}
    for route in result.explained():
        if len(verdicts) >= _MAX_ROUTES:
            break
        verdicts[route.route] = _fits(route) if route.messages else f"{_word(route.verdict)}{route.why}"
    return verdicts


def _fits(route: RouteResult) -> str:
    return f"fits, {route.deduplicated} of its messages deduplicated" if route.deduplicated else "fits"


def _word(verdict: str) -> str:
    return "dead letter: " if verdict == "dead-letter" else ""


def _cause(result: Result) -> str | None:
    """Return why the event reached no route."""
    if result.dead_letter is not None:
        return result.dead_letter.detail
    return "no route's topic fits" if result.unmatched else None
