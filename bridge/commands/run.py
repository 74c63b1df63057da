"""`run CONFIG`: runs the bridge."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NoReturn

from pydantic import ValidationError

from bridge.config import AdminSettings
from bridge.config.validation_errors import translate
from bridge.dry_run.companions import configurations
from bridge.errors import UsageError
from bridge.observe import logs
from bridge.process import ending
from bridge.process.event_loop import loop_factory
from bridge.process.lifecycle import block_signals
from bridge.process.loader import Loader, Prepared
from bridge.process.one_process import OneProcess
from bridge.process.reload import Watch
from bridge.process.supervisor import Supervisor
from bridge.sources.sharding import why_not_shareable


def _admin(listen: str | None) -> AdminSettings | None:
    if listen is None:
        return None
    try:
        return AdminSettings.model_validate({"listen": listen})
    except ValidationError as error:
        (mistake,) = translate(error, AdminSettings)
        raise UsageError(f"--admin: {mistake.message}{f', {mistake.hint}' if mistake.hint else ''}") from None


def _watched(path: str, load: Callable[[], Prepared]) -> tuple[Callable[[], Prepared], Watch]:
    """Return a `load` that notes the files which it reads, and the watch over these."""
    from bridge.process.file_watch import FileWatch, is_watchable  # noqa: PLC0415 - only where it is asked for

    if not is_watchable(path):
        raise UsageError(f"--reload-on-change: {path} is no file that can be read again; give the path of a file")
    watch = FileWatch(load)
    return watch.load, watch.run


def main(arguments: argparse.Namespace) -> NoReturn:
    """Run the bridge until a signal, and end the process.

    Raises:
        ConfigError: the file has mistakes.
        UsageError: `--admin` is no address, or `--reload-on-change` has no file to look at.
    """
    (path,) = configurations([arguments.config])
    load = Loader(path, arguments.log_format, arguments.log_level, _admin(arguments.admin)).load
    watch: Watch | None = None
    if arguments.reload_on_change:
        load, watch = _watched(path, load)
    prepared = load()
    loaded = prepared.config
    block_signals()  # before the first thread starts
    logs.configure(prepared.log_format, prepared.log_level, secrets=loaded.secrets())
    log = logs.logger()
    supervised = loaded.processes > 1 and any(why_not_shareable(source) is None for source in loaded.sources.values())
    if loaded.processes > 1 and not supervised:
        log.warning("bridge.one_process", processes=loaded.processes, cause="no source shares its events out")
    if supervised:
        # It moves no events: asyncio's own loop is fast enough for it.
        ending.run(Supervisor(prepared, load, watch).run(), None, "bridge.failed")
    ending.run(OneProcess(prepared, load, watch).run(), loop_factory(), "bridge.failed")
