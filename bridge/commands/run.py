"""`run CONFIG`: runs the bridge."""

from __future__ import annotations

import argparse
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
from bridge.process.loader import Loader
from bridge.process.one_process import OneProcess
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


def main(arguments: argparse.Namespace) -> NoReturn:
    """Run the bridge until a signal, and end the process.

    Raises:
        ConfigError: the file has mistakes.
        UsageError: `--admin` is no address.
    """
    (path,) = configurations([arguments.config])
    loader = Loader(path, arguments.log_format, arguments.log_level, _admin(arguments.admin))
    prepared = loader.load()
    loaded = prepared.config
    block_signals()  # before the first thread starts
    logs.configure(prepared.log_format, prepared.log_level, secrets=loaded.secrets())
    log = logs.logger()
    supervised = loaded.processes > 1 and any(why_not_shareable(source) is None for source in loaded.sources.values())
    if loaded.processes > 1 and not supervised:
        log.warning("bridge.one_process", processes=loaded.processes, cause="no source shares its events out")
    if supervised:
        # It moves no events: asyncio's own loop is fast enough for it.
        ending.run(Supervisor(prepared, loader.load).run(), None, "bridge.failed")
    ending.run(OneProcess(prepared, loader.load).run(), loop_factory(), "bridge.failed")
