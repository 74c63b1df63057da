"""`run CONFIG`: the bridge itself."""

from __future__ import annotations

import argparse
import asyncio

from bridge import config
from bridge.config import Config
from bridge.observe import logs
from bridge.process.bridge import Supervisor, loop_factory
from bridge.process.lifecycle import Lifecycle
from bridge.process.supervisor import Workers
from bridge.routing.compiler import check_routes
from bridge.sources.sharding import why_not_shareable


def main(arguments: argparse.Namespace) -> int:
    """Run the bridge until a signal; return the exit code."""
    loaded = config.load(arguments.config, check=check_routes)
    log_format, log_level = arguments.log_format or loaded.log.format, arguments.log_level or loaded.log.level
    logs.configure(log_format, log_level)
    log = logs.logger()
    several = loaded.processes > 1 and any(why_not_shareable(source) is None for source in loaded.sources.values())
    if loaded.processes > 1 and not several:
        log.warning("bridge.one_process", processes=loaded.processes, cause="no source shares its events out")
    # The parent of workers moves no events: asyncio's own loop is fast enough for it.
    with asyncio.Runner(loop_factory=None if several else loop_factory()) as runner:
        try:
            return runner.run(Workers(loaded, log_format, log_level).run() if several else _alone(loaded))
        except Exception:
            # A bug, or something only an operator can mend: loud, and the service manager starts anew.
            log.critical("bridge.failed", exc_info=True)
            return 1


async def _alone(loaded: Config) -> int:
    lifecycle = Lifecycle(loaded)
    supervisor = Supervisor(loaded, on_ready=lifecycle.ready)
    lifecycle.begin(stop=supervisor.stop)
    watching = asyncio.create_task(lifecycle.watch(supervisor.stuck), name="bridge:watchdog")
    try:
        await supervisor.run()
    finally:
        watching.cancel()
        lifecycle.end(supervisor.counts())
    return 0
