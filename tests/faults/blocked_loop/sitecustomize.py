"""What a call that never returns does to the bridge: SIGUSR1 blocks its event loop; on the PYTHONPATH of such a bridge."""

from __future__ import annotations

import time

from bridge.process.bridge import Bridge


def _block(_self: Bridge) -> None:
    while True:
        time.sleep(3600)


Bridge.log_state = _block  # type: ignore[assignment, method-assign]
