"""Messages to the service manager: one datagram each, as sd_notify(3) describes it."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Send `state` (such as READY=1) to the service manager, if one asked for it by NOTIFY_SOCKET."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # an abstract socket
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1.0)
        sock.sendto(state.encode(), address)


def watchdog_s() -> float | None:
    """Return the longest time between two WATCHDOG=1, in seconds; None if the manager wants none (sd_watchdog_enabled(3))."""
    try:
        within_s = int(os.environ.get("WATCHDOG_USEC", "")) / 1_000_000
        is_meant = int(os.environ.get("WATCHDOG_PID", os.getpid())) == os.getpid()
    except ValueError:
        return None
    return within_s if is_meant and within_s > 0 else None
