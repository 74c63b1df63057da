"""How a source of MQTT logs in: the same for a run and for a look before the start."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote, urlsplit

from bridge.config import Mqtt, tls
from bridge.connecting.attempt import Server

_PORT: Final = 1883
_TLS_PORT: Final = 8883


def server(config: Mqtt) -> Server:
    """Return the broker of a source."""
    url = urlsplit(config.url)
    secure = tls.context(config.tls) if url.scheme == "mqtts" else None
    port, name = url.port or (_TLS_PORT if secure else _PORT), config.tls.server_name if config.tls else None
    return Server(url.hostname or "localhost", port, tls=secure, name=name)


def credentials(config: Mqtt) -> tuple[str, str]:
    """Return the user's name and the password, "" for none."""
    url = urlsplit(config.url)
    username = config.username if config.username is not None else unquote(url.username or "")
    password = config.password.get_secret_value() if config.password else unquote(url.password or "")
    return username, password
