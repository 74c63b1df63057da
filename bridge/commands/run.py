"""`run CONFIG`: runs the bridge."""

from __future__ import annotations

import argparse
import asyncio
from typing import NoReturn

from bridge import config
from bridge.config import Config, tls
from bridge.dry_run.companions import configurations
from bridge.errors import Diagnostic
from bridge.observe import logs
from bridge.process import clock, ending
from bridge.process.bridge import Bridge
from bridge.process.event_loop import loop_factory
from bridge.process.lifecycle import Lifecycle, block_signals
from bridge.process.supervisor import Supervisor
from bridge.routing.compiler import call_mistakes, compile_routes
from bridge.routing.routes import RouteTable
from bridge.sources.sharding import why_not_shareable


def main(arguments: argparse.Namespace) -> NoReturn:
    """Run the bridge until a signal, and end the process.

    Raises:
        ConfigError: the file has mistakes.
    """
    tables: dict[str, RouteTable] = {}

    def check(loaded: Config) -> list[Diagnostic]:
        compiled, mistakes = compile_routes(loaded)
        tables.update(compiled)
        # A file of TLS that can't be read is waited for, since certificates are rotated; a password can't come later.
        return [*mistakes, *call_mistakes(loaded), *tls.mistakes(loaded, passwords_only=True)]

    (path,) = configurations([arguments.config])
    loaded = config.load(path, check=check)
    log_format, log_level = arguments.log_format or loaded.log.format, arguments.log_level or loaded.log.level
    block_signals()  # before the first thread starts
    logs.configure(log_format, log_level, secrets=loaded.secrets())
    log = logs.logger()
    supervised = loaded.processes > 1 and any(why_not_shareable(source) is None for source in loaded.sources.values())
    if loaded.processes > 1 and not supervised:
        log.warning("bridge.one_process", processes=loaded.processes, cause="no source shares its events out")
    if supervised:
        tables.clear()  # each child compiles its own
        # It moves no events: asyncio's own loop is fast enough for it.
        ending.run(Supervisor(loaded, log_format, log_level).run(), None, "bridge.failed")
    ending.run(_run_one_process(loaded, tables), loop_factory(), "bridge.failed")


async def _run_one_process(loaded: Config, tables: dict[str, RouteTable]) -> int:
    lifecycle = Lifecycle(loaded)
    bridge = Bridge(loaded, on_ready=lifecycle.ready, tables=tables)
    lifecycle.begin(bridge)
    helpers = [
        asyncio.create_task(lifecycle.watch(bridge.stuck, bridge.unready), name="bridge:lifecycle"),
        asyncio.create_task(clock.watch_steps(), name="bridge:clock"),
    ]
    try:
        await bridge.run()
    finally:
        for helper in helpers:
            helper.cancel()
        lifecycle.end(bridge.counts())
    return 0 if bridge.settled else 1
