"""The counts of a source as fields of a log line, and a line for each of its routes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from bridge.model.accounting import Counts
from bridge.observe.logs import logger

log = logger()
#: A bridge with thousands of routes does not fill the log with them.
_MAX_ROUTES: Final = 100


def counts_fields(counts: Counts) -> dict[str, Any]:
    """Return the counts for a log line, without those of the routes."""
    fields = asdict(counts)
    fields.pop("routes")
    fields["reasons"] = {reason: count for reason, count in counts.reasons.items() if count} or None
    return fields


def log_routes(event: str, source: str, counts: Counts) -> None:
    """Log the counts of each route to which events came: a hundred routes at most, those with most events."""
    routes = sorted(counts.routes.items(), key=lambda item: -(item[1].matched + item[1].filtered))
    for name, each in routes[:_MAX_ROUTES]:
        log.info(event, source=source, route=name, **asdict(each))
    if len(routes) > _MAX_ROUTES:
        log.info(event, source=source, cause=f"{len(routes) - _MAX_ROUTES} more routes have fewer events")
