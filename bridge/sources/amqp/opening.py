"""How a source of AMQP connects, and why it can't: the same for a run and for a look before the start."""

from __future__ import annotations

from typing import Final

from aio_pika.connection import make_url
from aiormq.exceptions import ChannelPreconditionFailed
from yarl import URL

from bridge.config import Amqp, tls
from bridge.connecting.attempt import Server
from bridge.errors import describe_error
from bridge.sources.amqp.consumer_check import says_gone
from bridge.sources.amqp.session import describe_end
from bridge.sources.amqp.stream import no_stream

_PORT: Final = 5672
_TLS_PORT: Final = 5671


def server(config: Amqp, url: URL) -> Server:
    """Return the server of a source, whose URL is `url`."""
    settings = config.tls
    secure = tls.context(settings) if url.scheme == "amqps" else None
    port = url.port or (_TLS_PORT if secure else _PORT)
    return Server(url.host or "localhost", port, tls=secure, name=settings.server_name if settings else None)


def broker_url(config: Amqp, name: str) -> URL:
    """Return the URL for the library, with the credentials; the broker lists the connection by `name`."""
    # aiormq gives up after 3 x (heartbeat + 1) s without a frame, and checks every half heartbeat. So it gets 9 s for
    # a `heartbeat` of 10 s, and gives up after 34 s at most.
    heartbeat = max(1, config.heartbeat // 1000 - 1)
    url = make_url(config.url, heartbeat=heartbeat, name=name)
    if config.username is not None:
        url = url.with_user(config.username)
    if config.password is not None:
        url = url.with_password(config.password.get_secret_value())
    return url


def describe_refusal(error: BaseException, config: Amqp) -> str:
    """Return which queue or exchange the broker refused to declare or to find; "" if it did not."""
    if config.declare is None and says_gone(error, config.queue):
        return f"queue {config.queue!r} does not exist: declare it at the broker, or add `declare:` to the source"
    if isinstance(error, ChannelPreconditionFailed) and "x-stream-offset" in str(error):
        return no_stream(config.queue)
    if isinstance(error, ChannelPreconditionFailed):
        exchange = f"exchange {config.declare.exchange!r}" if config.declare else ""
        # RabbitMQ names the argument that differs, and its queue or exchange.
        subject = exchange if exchange and f"for {exchange}" in str(error) else f"queue {config.queue!r}"
        # "inequivalent arg ... received ... but current is ..."; else it says which argument is invalid.
        problem = "exists with other settings" if "inequivalent" in str(error) else "is refused as it is declared"
        return f"{subject} {problem}: {error}"
    return ""


def describe_failure(error: BaseException, url: str, *, connected: bool) -> str:
    """Return why a connection was not made, or, once it was, why it ended."""
    if not connected and (explained := tls.explain(error, url)) != describe_error(error):
        return explained
    return describe_end(error)
