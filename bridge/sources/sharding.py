"""`processes: N`: the sources that several processes share, and the configuration of each process."""

from __future__ import annotations

from pathlib import Path

from bridge.config import Config, SourceConfig


def config_for_process(config: Config, number: int) -> Config:
    """Return the configuration of process `number`: all sources for process 0, the shareable ones for every other process.

    See `Traits.for_process` for the names by which the brokers know the others.
    """
    spool = config.spool
    if spool is not None:
        # A part of `max_size` each: together they keep to it.
        directory = spool.directory if number == 0 else str(Path(spool.directory) / f"process-{number}")
        spool = spool.model_copy(update={"directory": directory, "max_size": spool.max_size // config.processes})
        config = config.model_copy(update={"spool": spool})
    if number == 0:
        return config
    sources = {
        name: source.traits.for_process(source, number)
        for name, source in config.sources.items()
        if why_not_shareable(source) is None
    }
    routes = [route for route in config.routes if route.source in sources]
    return config.model_copy(update={"sources": sources, "routes": routes})


def why_not_shareable(source: SourceConfig) -> str | None:
    """Return why only one process can run `source`, or None if its broker gives each event to one of several."""
    return source.traits.why_not_shareable(source)
