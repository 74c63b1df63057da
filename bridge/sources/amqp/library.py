"""Limits of the AMQP library that no broker has, lifted.

pamqp 4.0 refuses names of exchanges and queues that do not match `[a-zA-Z0-9-_.:@#,/+ ]*`, exchanges of more than 127
characters, and virtual hosts of more than 127. A name of AMQP is a short string: up to 255 bytes, and the broker decides
which. aiormq 7.2 reads `capabilities` among the broker's properties, an extension of RabbitMQ, as if each broker had them
(Qpid Broker-J has none).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import aiormq
from pamqp.base import Frame
from pamqp.commands import Basic, Connection, Exchange, Queue

#: Every command with a name that the bridge sends. pamqp checks it when it is made, and once more when it is encoded.
COMMANDS: Final[tuple[type[Frame], ...]] = (
    Connection.Open,
    Exchange.Declare,
    Queue.Declare,
    Queue.Bind,
    Basic.Consume,
)


def lift_limits() -> None:
    """Let the broker decide about names, and let it announce no capabilities; calling it again changes nothing.

    It holds for all connections of this process. A name of more than 255 bytes, which has no encoding, is a TypeError.
    """
    for command in COMMANDS:
        command.validate = Frame.validate  # type: ignore[method-assign]
    aiormq.Connection.server_capabilities = property(_capabilities)  # type: ignore[assignment,method-assign]


def capabilities(server_properties: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the extensions of AMQP 0-9-1 that a broker announces; none where it announces anything else than a table."""
    found = server_properties.get("capabilities")
    return found if isinstance(found, dict) else {}


def shown(value: object) -> str:
    """Return a property of the broker as text."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _capabilities(connection: aiormq.Connection) -> Mapping[str, Any]:
    return capabilities(connection.server_properties)
