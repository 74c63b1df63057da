"""The demo's MQTT broker: amqtt on one loopback port (`python -m bridge.demo.mqtt_broker PORT`).

It has no dollar topics and keeps nothing on the disk. It speaks MQTT 3.1.1; what a subscriber
did not acknowledge it does not send again (amqtt#401), which a demo can do without.
"""

from __future__ import annotations

import asyncio
import sys

from amqtt.broker import Broker


async def serve(port: int) -> None:
    """Serve until the process is ended; nothing needs to be saved."""
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            # Named, so that the plugins that log every packet and fill $SYS stay away.
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    print("listening", flush=True)  # noqa: T201 - the demo waits for it
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
