"""mochi, a program of ours around its server, with its bolt storage."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Final

from tests.interop import builds, golang
from tests.interop.broker import Lack
from tests.interop.mqtt_broker import MqttBroker

_CANNOT_RESEND: Final = Lack(
    "closes, after a restart, each connection to a session with unacknowledged messages (`resend inflight: protocol "
    "violation: missing packet id`): a plain client gets none of 300",
    "2026-11-27",
)


class Mochi(MqttBroker):
    """mochi 2.7.9; its sessions and messages are in one bolt file."""

    name = "mochi-2.7.9"
    program = "mochi"
    protocols = frozenset({"mqtt-5", "mqtt-3.1.1"})
    lacks = MappingProxyType(
        {
            "bridge-kill": Lack(
                "loses messages that are published while it resumes a session: a plain client misses 42 of 478, in three "
                "resumptions",
                "2026-11-27",
            ),
            "broker-restart": _CANNOT_RESEND,
            "broker-kill": _CANNOT_RESEND,
        }
    )

    @classmethod
    def prepare(cls, cache: Path) -> None:
        """See InteropBroker."""
        cls.built = golang.build(cache)

    def _command(self) -> list[str]:
        return builds.command([f"{self.built}/mochi", f"127.0.0.1:{self.port}", f"{self.directory}/bolt"])


BROKERS = (Mochi,)
