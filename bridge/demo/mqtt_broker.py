"""The demo's MQTT broker: amqtt on one loopback port (`python -m bridge.demo.mqtt_broker PORT`).

It has no dollar topics and stores nothing on disk. It speaks MQTT 3.1.1 and does not redeliver
unacknowledged messages (amqtt#401), which the demo does not need.
"""

from __future__ import annotations

import asyncio
import sys

from amqtt.broker import Broker


async def serve(port: int) -> None:
    """Serve until the process is killed."""
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            # Naming a plugin disables the default ones, which log every packet and fill $SYS.
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    print("listening", flush=True)  # noqa: T201 - the demo waits for this line
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
