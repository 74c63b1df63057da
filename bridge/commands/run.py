"""`run CONFIG`: the bridge itself."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable

from bridge import config
from bridge.observe import logs
from bridge.route_compiler import check_routes
from bridge.supervisor import Supervisor


def main(arguments: argparse.Namespace) -> int:
    """Run the bridge until a signal; return the exit code."""
    loaded = config.load(arguments.config, check=check_routes)
    logs.configure(arguments.log_format or loaded.log.format, arguments.log_level or loaded.log.level)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            return runner.run(Supervisor(loaded).run())
        except Exception:  # noqa: BLE001 - logged, with its traceback
            # A bug, or something only an operator can mend: loud, and the service manager starts anew.
            logs.logger().critical("bridge.failed", exc_info=True)
            return 1


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return uvloop.new_event_loop  # type: ignore[no-any-return, unused-ignore]
