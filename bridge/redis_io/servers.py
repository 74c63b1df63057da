"""Old and odd servers that speak Redis's protocol: their versions, and remedies of their refusals."""

from __future__ import annotations

from typing import Final

from redis.exceptions import ResponseError

from bridge.errors import Disconnected
from bridge.model.server_versions import outdated
from bridge.observe.log_fields import cut
from bridge.observe.logs import logger
from bridge.redis_io.connection import NEEDS_PASSWORD, RedisConnection

log = logger()
#: The remedy of a key that holds another type than the bridge, or Dramatiq, keeps there.
WRONG_KEY: Final = "rename or delete it"
#: The remedies of errors that name none themselves, by how they begin.
_REMEDIES: Final = {
    "unknown command": (
        "the bridge needs it; is it renamed (rename-command),"
        " or is this a Sentinel's port, another server, or a Redis before 5.0?"
    ),
    "READONLY": "this server is a replica: write the address of the one that takes writes",
    "MOVED": "this node of a Redis Cluster does not hold the keys: write the address of the one that does",
    "CROSSSLOT": (
        "in a Redis Cluster they must: write the namespace in braces, as in '{dramatiq}',"
        " here and in Dramatiq's RedisBroker"
    ),
    "DEADLETTERS WRONGTYPE": WRONG_KEY,
    "POSITIONS WRONGTYPE": WRONG_KEY,
    "Protocol error, got": "perhaps this is no Redis's port",
    "invalid username-password": "check `username` and `password`, and whether the user is on (ACL LIST)",
    "AUTH <password> called": "leave `password` out, since this Redis has none for its default user, or name a `username`",
    **dict.fromkeys(NEEDS_PASSWORD, "write `password`, and `username` unless it is the default user's"),
    "DB index is out of range": "write a lower number into the URL, or raise `databases` in redis.conf",
    "OOM": "raise maxmemory, or wait for the workers to empty the queues",
}
#: The command that gives a missing right: it may be in the text already.
_LINE: Final = ": ACL SETUSER "
#: The settings that refusals are about, where that is not the URL.
_KEYS: Final = {
    "CROSSSLOT": "namespace",
    **dict.fromkeys(("invalid username-password", "AUTH <password> called", *NEEDS_PASSWORD), "password"),
}


def with_remedy(cause: str) -> str:
    """Return an error's text, and its remedy where the text names none."""
    text, remedy, _ = apart(cause)
    return f"{text}: {remedy}" if remedy else cause


def apart(cause: str) -> tuple[str, str, str]:
    """Return an error's text without its remedy, which `with_remedy` may have added; the remedy; the setting it is about."""
    text, has_line, rights = cause.partition(_LINE)
    if has_line:
        return text, f"{_LINE.removeprefix(': ')}{rights}", "username"
    for beginning, remedy in _REMEDIES.items():
        if cause.startswith(beginning):
            return cause.removesuffix(f": {remedy}").rstrip("."), remedy, _KEYS.get(beginning, "url")
    return cause, "", "url"


def disconnected(cause: str) -> Disconnected:
    """Return the end of a look at a server, with its remedy apart."""
    text, remedy, key = apart(cause)
    return Disconnected(text, remedy=remedy, key=key)


def outdated_redis(info: str) -> str:
    """Return that the server of this INFO is older than supported; "" if it is not, or does not tell."""
    fields = info_fields(info)
    if "valkey_version" in fields:
        return outdated("Valkey", fields["valkey_version"])
    return outdated("Redis", fields.get("redis_version", ""))


def server_name(info: str) -> str:
    """Return the name and the version of the server of this INFO, as in "Redis 7.0.15"."""
    fields = info_fields(info)
    if "valkey_version" in fields:  # its `redis_version` stays at 7.2.4
        return f"Valkey {cut(fields['valkey_version'])}"
    return f"Redis {cut(fields.get('redis_version', 'of an unknown version'))}"


def info_fields(info: str) -> dict[str, str]:
    """Return the fields of a section of INFO."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in info.splitlines())}


def not_redis(reply: object) -> str:
    """Return in words that a reply is none that Redis gives."""
    return f"this is no Redis's port: it answers with {cut(repr(reply))}"


class VersionCheck:
    """Asks the server of one source for its version, until it has answered; says once if it is too old."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._asked = False

    async def run(self, connection: RedisConnection) -> None:
        """Ask, unless it was asked before.

        Raises:
            Disconnected: the connection has ended, or this is no Redis.
        """
        if self._asked:
            return
        try:
            info = await connection.command("INFO", "server")
        except ResponseError as error:
            if not str(error).startswith(("unknown command", "NOPERM")):
                return  # busy, or being set up: the next connection asks
            info = b""  # no source needs it
        if not isinstance(info, bytes):
            raise Disconnected(not_redis(info))
        self._asked = True
        if cause := outdated_redis(info.decode("utf-8", "backslashreplace")):
            log.warning("source.old_server", source=self._source, cause=cause)
