"""`run CONFIG`: runs the bridge."""

from __future__ import annotations

import argparse
import asyncio

from bridge import config
from bridge.config import Config, tls
from bridge.observe import logs
from bridge.process.bridge import Bridge
from bridge.process.event_loop import loop_factory
from bridge.process.lifecycle import Lifecycle
from bridge.process.supervisor import Supervisor
from bridge.routing.compiler import check_routes
from bridge.sources.sharding import why_not_shareable


def main(arguments: argparse.Namespace) -> int:
    """Run the bridge until a signal; return the exit code."""
    # A file of TLS that can't be read is waited for, since certificates are rotated; a password can't come later.
    loaded = config.load(
        arguments.config, check=lambda loaded: [*check_routes(loaded), *tls.mistakes(loaded, passwords_only=True)]
    )
    log_format, log_level = arguments.log_format or loaded.log.format, arguments.log_level or loaded.log.level
    logs.configure(log_format, log_level, secrets=loaded.secrets())
    log = logs.logger()
    supervised = loaded.processes > 1 and any(why_not_shareable(source) is None for source in loaded.sources.values())
    if loaded.processes > 1 and not supervised:
        log.warning("bridge.one_process", processes=loaded.processes, cause="no source shares its events out")
    # A supervisor moves no events: asyncio's own loop is fast enough for it.
    with asyncio.Runner(loop_factory=None if supervised else loop_factory()) as runner:
        try:
            return runner.run(
                Supervisor(loaded, log_format, log_level).run() if supervised else _run_one_process(loaded)
            )
        except Exception:
            # A bug, or a fault that only an operator can mend: log it, and leave the restart to the service manager.
            log.critical("bridge.failed", exc_info=True)
            return 1


async def _run_one_process(loaded: Config) -> int:
    lifecycle = Lifecycle(loaded)
    bridge = Bridge(loaded, on_ready=lifecycle.ready)
    lifecycle.begin(stop=bridge.stop)
    watchdog = asyncio.create_task(lifecycle.watch(bridge.stuck, bridge.unready), name="bridge:watchdog")
    try:
        await bridge.run()
    finally:
        watchdog.cancel()
        lifecycle.end(bridge.counts())
    return 0
