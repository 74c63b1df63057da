"""What is promised for the events of each source, as its settings stand."""

from __future__ import annotations

from bridge.config import Config, SourceConfig
from bridge.config.units import spell_duration, spell_size
from bridge.redis_io.client import same_server


def guarantee(config: Config, source: SourceConfig) -> str:
    """Return the promise, and what it costs that there is no spool where one would hold more."""
    if source.type == "amqp":
        return "at least once"
    if source.type == "redis-stream":
        if same_server(source.url, config.dramatiq.url):
            return "enqueued exactly once"
        return "at least once, and once within a day"
    if source.type == "mqtt" and source.durable:
        kept = (
            f"for {spell_duration(source.session_expiry // 1000 * 1000)}"
            if source.version == "5"
            else "while it keeps the session"
        )
        if config.spool is None:
            return f"at least once of what the broker holds {kept}; no spool, so in an outage of Redis its limits count"
        return f"at least once of what the broker holds {kept}"
    return _at_most_once(config, source)


def _at_most_once(config: Config, source: SourceConfig) -> str:
    if config.spool is None:
        return (
            "at most once; no spool, so in an outage of Redis"
            f" what comes beyond {source.window.events} events or {spell_size(source.window.bytes)} is lost"
        )
    return (
        f"at most once until received; then an outage of Redis loses nothing up to {spell_size(config.spool.max_size)}"
    )
