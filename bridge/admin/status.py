"""/status: the whole state of a bridge as JSON, for people and for `dramatiq-bridge status` and `top`.

Every field of `BridgeState` has its own name and place, so that the JSON decodes to it again; further fields are derived.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from bridge.admin.readiness import notes, problems
from bridge.config.urls import redacted_url
from bridge.model.state import EVENTS_BUCKETS, SECONDS_BUCKETS, BridgeState, RouteState, SourceState
from bridge.observe.masking import without_secrets

#: Texts that may quote a broker or a library, and so a secret.
_FOREIGN: Final = frozenset({"cause", "unready", "queues_cause", "reload_cause", "config"})


def status(state: BridgeState) -> bytes:
    """Return the JSON of a state, without secrets, in lines that people can read."""
    return msgspec.json.format(msgspec.json.encode(whole(state)), indent=2) + b"\n"


def whole(state: BridgeState) -> dict[str, Any]:
    """Return the state as /status shows it, without secrets."""
    causes = problems(state)
    return {
        "ready": not causes,
        "problems": causes,
        "notes": notes(state),
        **_fields(state),
        "sink_url": without_secrets(redacted_url(state.sink_url)),
        "started": _time(state.started_at),
        "loaded": _time(state.loaded_at),
        "sources": {name: _source(source) for name, source in state.sources.items()},
        "routes": {name: _route(name, route, state) for name, route in state.routes.items()},
        "bounds": {"batches": EVENTS_BUCKETS, "age": SECONDS_BUCKETS, "writes": SECONDS_BUCKETS},
    }


def _source(source: SourceState) -> dict[str, Any]:
    return {**_fields(source), "identity": _identity(source), "accounting_error": source.accounting_error}


def _identity(source: SourceState) -> dict[str, Any]:
    """Return both sides of the identity: received + recovered = the classes + in flight + spooled + error."""
    counts = source.counts
    return {
        "received": counts.received,
        "recovered": counts.recovered,
        "enqueued": counts.enqueued,
        "filtered": counts.filtered,
        "unmatched": counts.unmatched,
        "deduplicated": counts.deduplicated,
        "expired": counts.expired,
        "dead_lettered": counts.dead_lettered,
        "returned": counts.returned,
        "lost": counts.lost,
        "in_flight": source.in_flight,
        "spooled": source.spooled or 0,
        "error": source.accounting_error,
    }


def _route(name: str, route: RouteState, state: BridgeState) -> dict[str, Any]:
    return {**_fields(route), **asdict(state.counts_of_route(name))}


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    """Return every field, also those that have their default value."""
    return dict(_pairs(struct))


def _pairs(struct: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        if name in _FOREIGN:
            value = without_secrets(value)
        elif isinstance(value, msgspec.Struct):
            value = _fields(value)
        elif name == "queues":
            value = {queue: _fields(each) for queue, each in value.items()}
        yield name, value


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
