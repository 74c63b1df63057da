"""The promise for the events of a source, with its present settings."""

from __future__ import annotations

from urllib.parse import urlsplit

from bridge.config import Config, SourceConfig
from bridge.config.promises import Promise
from bridge.config.traits import Surroundings
from bridge.redis_io.client import same_server


def promise(config: Config, source: SourceConfig) -> Promise:
    """Return the promise, and in it the cost of having no spool where one would hold more events."""
    sink = config.dramatiq
    in_sink = urlsplit(source.url).scheme in sink.schemes and same_server(source.url, sink.url)
    spool_bytes = config.spool.max_size if config.spool is not None else None
    return source.traits.promise(source, Surroundings(in_sink=in_sink, spool_bytes=spool_bytes))
