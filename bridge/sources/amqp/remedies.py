"""What to do where RabbitMQ refuses a user: commands that can be run as they are."""

from __future__ import annotations

import re
import shlex

from bridge.config import Amqp
from bridge.config.names import virtual_host

_SPECIAL = re.compile(r"([.*+?^$(){}|\[\]\\])")


def permission(config: Amqp, user: str) -> str:
    """Return the command that gives a user all that its source needs, and what else it does."""
    queue, declare = [config.queue], config.declare
    exchange = [declare.exchange] if declare is not None and declare.exchange else []
    configure = _pattern(queue + exchange if declare is not None else [])
    write, read = _pattern(queue if exchange else []), _pattern(queue + exchange)
    words = ["rabbitmqctl", "set_permissions", "-p", virtual_host(config.url), user, configure, write, read]
    return (
        "this command replaces all three patterns of the user there (configure, write, read), so add to them what else it needs"
        f" (rabbitmqctl list_user_permissions {shlex.quote(user)}): {shlex.join(words)}"
    )


def login_remedy(cause: str, config: Amqp, user: str) -> tuple[str, str]:
    """Return what to do about a connection that is refused, and the key that it is about; "" if nobody knows."""
    if "Login was refused" in cause:
        check = f"rabbitmqctl authenticate_user {shlex.quote(user)}"
        return f"check `username` and `password` ({check}); guest may come from the broker's own host alone", "password"
    if re.search(r"vhost .* not found", cause):
        return (
            f"rabbitmqctl add_vhost {shlex.quote(virtual_host(config.url))}, or write another one into the URL",
            "url",
        )
    if re.search(r"access to vhost .* refused", cause):
        return permission(config, user), "url"
    return "", "url"


def _pattern(names: list[str]) -> str:
    """Return the expression that these names alone fit; "", which nothing fits, for none."""
    escaped = [_SPECIAL.sub(r"\\\1", name) for name in names]
    if len(escaped) > 1:
        return f"^({'|'.join(escaped)})$"
    return f"^{escaped[0]}$" if escaped else ""
