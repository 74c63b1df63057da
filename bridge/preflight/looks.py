"""All looks at once, each with an end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from bridge import sources
from bridge.config import Config, Connection
from bridge.config.units import spell_duration
from bridge.errors import Disconnected, describe_error
from bridge.model.findings import Findings
from bridge.preflight.sink import look_at_sink

#: The end of a look, and of its connecting: a host that says nothing is found by the words of its connecting.
LIMIT_S: Final = 10.0
_CONNECT_MS: Final = 8_000
#: How long a look that is cut short may take to close its connection.
_CLOSE_S: Final = 1.0
#: What to do about a certificate, by the words of the TLS library.
_CERTIFICATES: Final = {
    "unable to get local issuer certificate": "name the file of its authority: tls: {ca: FILE}",
    "self-signed certificate": "name the file of its authority: tls: {ca: FILE}",
    "Hostname mismatch": "write the certificate's name: in the URL, or as tls: {server_name: NAME}",
    "IP address mismatch": "write the certificate's name: in the URL, or as tls: {server_name: NAME}",
    "certificate has expired": "renew the server's certificate",
}
#: The name of the look at Dramatiq's Redis: no source has it.
SINK: Final = ""


def look_everywhere(config: Config, limit_s: float = LIMIT_S) -> Mapping[str, Findings]:
    """Return the findings of each source by its name, and those of Dramatiq's Redis under SINK."""
    # Not asyncio.run, which would wait for a task that a library keeps from ending.
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    disabled = logging.root.manager.disable
    logging.disable()  # the libraries': each cause is a finding
    try:
        return loop.run_until_complete(_look_everywhere(_impatient(config), limit_s))
    except KeyboardInterrupt:
        looks = asyncio.all_tasks(loop)
        for look in looks:
            look.cancel()
        loop.run_until_complete(asyncio.wait(looks, timeout=_CLOSE_S))
        raise
    finally:
        logging.disable(disabled)
        loop.close()


async def _look_everywhere(config: Config, limit_s: float) -> Mapping[str, Findings]:
    looks: dict[str, Callable[[Findings], Awaitable[None]]] = {SINK: lambda found: look_at_sink(config, found)}
    for name in config.sources:
        looks[name] = lambda found, name=name: sources.look(name, config, found)  # type: ignore[misc]
    found = {name: Findings() for name in looks}
    tasks = {asyncio.ensure_future(_guarded(look, found[name])): name for name, look in looks.items()}
    _, late = await asyncio.wait(tasks, timeout=limit_s)
    for task in late:
        task.cancel()
        found[tasks[task]].problem(f"no answer within {spell_duration(round(limit_s * 1000))}", "", "url")
    if late:
        await asyncio.wait(late, timeout=_CLOSE_S)
    return found


async def _guarded(look: Callable[[Findings], Awaitable[None]], found: Findings) -> None:
    try:
        await look(found)
    except Disconnected as error:
        found.problem(error.cause, error.remedy or _remedy(error.cause), error.key)
    except Exception as error:  # noqa: BLE001 - the edge of a task: the other looks go on, and this one is said to have failed
        found.problem(f"the look failed: {describe_error(error)}", "", "url")


def _remedy(cause: str) -> str:
    """Return what to do about a connection that can't be made, whatever the protocol; "" if nobody knows."""
    if cause == "timed out" or cause.startswith("no answer from "):
        return "nothing answers there in this protocol: check host, port and firewall"
    return next((remedy for token, remedy in _CERTIFICATES.items() if token in cause), "")


def _impatient(config: Config) -> Config:
    """Return a configuration whose connections are made sooner than the looks end."""

    def cut(connection: Any) -> Any:
        assert isinstance(connection, Connection)  # noqa: S101 - every source is one
        changes: dict[str, int] = {"connect_timeout": min(connection.connect_timeout, _CONNECT_MS)}
        if "timeout" in type(connection).model_fields:
            changes["timeout"] = min(getattr(connection, "timeout", _CONNECT_MS), _CONNECT_MS)
        return connection.model_copy(update=changes)

    cut_sources = {name: cut(source) for name, source in config.sources.items()}
    return config.model_copy(update={"dramatiq": cut(config.dramatiq), "sources": cut_sources})
