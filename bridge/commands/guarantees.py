"""The promise for the events of each source, with its present settings."""

from __future__ import annotations

from urllib.parse import urlsplit

from bridge.config import Config, SourceConfig
from bridge.config.traits import Surroundings
from bridge.config.units import spell_size
from bridge.redis_io.client import same_server


def guarantee(config: Config, source: SourceConfig) -> str:
    """Return the promise, and the cost of having no spool where one would hold more events."""
    surroundings = Surroundings(in_sink=_in_sink(config, source), has_spool=config.spool is not None)
    return source.traits.guarantee(source, surroundings) or _at_most_once(config, source)


def _in_sink(config: Config, source: SourceConfig) -> bool:
    sink = config.dramatiq
    return urlsplit(source.url).scheme in sink.schemes and same_server(source.url, sink.url)


def _at_most_once(config: Config, source: SourceConfig) -> str:
    if config.spool is None:
        return (
            "at most once; no spool, so in an outage of Redis"
            f" what comes beyond {source.window.events} events or {spell_size(source.window.bytes)} is lost"
        )
    return (
        f"at most once until received; then an outage of Redis loses nothing up to {spell_size(config.spool.max_size)}"
    )
