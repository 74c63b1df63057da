"""The rights of a user of Redis, asked for without any effect; what is missing is said as the line that gives it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

from redis.exceptions import ResponseError

from bridge.config import Connection
from bridge.redis_io.client import user_of
from bridge.redis_io.connection import RedisConnection, Word, plain_error

#: Runs commands, each with its words and their number before them; returns an error's text for each, "" without one. Redis
#: asks for the rights of a user before it finds that a script may not write: so a command of a script that is declared to
#: write nothing shows whether it is permitted, and has no effect (Redis 7.0 and 8.0, Valkey 9.1, observed).
_READ_ONLY: Final = "#!lua flags=no-writes\n"
_TRY: Final = """
local replies, at = {}, 1
while at <= #ARGV do
  local words = {}
  for word = 1, tonumber(ARGV[at]) do
    words[word] = ARGV[at + word]
  end
  at = at + #words + 1
  local reply = redis.pcall(unpack(words))
  replies[#replies + 1] = type(reply) == 'table' and reply.err and tostring(reply.err) or ''
end
return replies
"""
#: The state of a server has a code of its own; before 7.0 the first line is no Lua, and proxies want a key of each script.
_STATE: Final = re.compile(r"(LOADING|BUSY|MASTERDOWN|NOAUTH|CLUSTERDOWN|TRYAGAIN|MOVED|READONLY|NOREPLICAS|MISCONF)\b")
_DENIED: Final = re.compile(r"NOPERM|The user executing the script can't|ACL failure in script|has no permissions")
_OF_KEYS: Final = re.compile(r"access .*key")
_OF_CHANNELS: Final = re.compile(r"access .*channel")
_COMMAND: Final = re.compile(r"run the '([^']+)' command")
_UNKNOWN: Final = re.compile(r"[Uu]nknown \w*\s?command")
_GLOB: Final = re.compile(r"([*?\[\]\\^])")


class NoScript(Exception):
    """The server runs no script that is declared to write nothing."""


class Denied(Exception):
    """The user may run no script."""


class MissingRights:
    """The commands, keys and channels that a user may not use, and the line that permits them."""

    def __init__(self, connection: Connection) -> None:
        self.user = user_of(connection)
        self.commands: list[str] = []
        self.keys: list[str] = []
        self.channels: list[str] = []
        #: Commands that the server does not know.
        self.unknown: list[str] = []

    def note(self, command: str, refusal: str, *, pattern: str = "") -> bool:
        """Take note of a refusal, "" for none; `pattern` is one of the keys or channels of `command`.

        Return whether it was about the right, or about a command that is not there.
        """
        if _UNKNOWN.search(refusal):
            _add(self.unknown, command.split("|", maxsplit=1)[0].upper())
        elif not _DENIED.search(refusal):
            return False
        elif _OF_CHANNELS.search(refusal):
            _add(self.channels, pattern)
        elif _OF_KEYS.search(refusal):
            _add(self.keys, pattern)
        else:
            _add(self.commands, command.lower())
        return True

    def take_keys(self, other: MissingRights) -> None:
        """Count the keys that are missing for other commands among these: a denied command hides its key."""
        for pattern in other.keys:
            _add(self.keys, pattern)
        other.keys = []

    @property
    def any(self) -> bool:
        """Whether a right is missing."""
        return bool(self.commands or self.keys or self.channels)

    @property
    def text(self) -> str:
        """What the user may not do, in words."""
        parts = [", ".join(self.commands)] if self.commands else []
        for name, patterns in (("key", self.keys), ("channel", self.channels)):
            if patterns:
                parts.append(f"{'use' if name == 'key' else 'get'} the {name}s {', '.join(patterns)}")
        run = "run " if self.commands else ""
        return f"the user {self.user} may not {run}{', nor '.join(parts)}"

    @property
    def line(self) -> str:
        """The command of Redis that gives all of it."""
        signs = [
            *(f"~{pattern}" for pattern in self.keys),
            *(f"&{pattern}" for pattern in self.channels),
            *(f"+{command}" for command in self.commands),
        ]
        return " ".join(["ACL SETUSER", self.user, *signs])


def with_line(cause: str, connection: Connection, *, keys: Sequence[str] = (), channels: Sequence[str] = ()) -> str:
    """Return the cause of a refusal, with the command that gives the right if one was missing.

    `keys` and `channels` are the patterns of all that the command may have named: Redis does not say which it denies.
    """
    missing = MissingRights(connection)
    command = _COMMAND.search(cause)
    if not is_denial(cause) or not missing.note(command[1] if command else "", cause):
        return cause
    missing.keys = list(keys) if missing.keys else []
    missing.channels = list(channels) if missing.channels else []
    is_named = "" not in missing.commands
    return f"{cause}: {missing.line}" if is_named and missing.any else cause


def is_denial(text: str) -> bool:
    """Return whether an error says that a right is missing."""
    return _DENIED.search(text) is not None


def literal(text: str) -> str:
    """Return the pattern of a key or a channel that fits this text alone."""
    return _GLOB.sub(r"\\\1", text)


async def try_in_script(ask: Callable[..., Awaitable[Any]], commands: Iterable[Sequence[Word]]) -> list[str]:
    """Return for each command the error that it meets in a script that writes nothing, "" for none.

    `ask` sends a command and returns its reply, an error as a ResponseError.

    Raises:
        NoScript: the server knows no such script.
        Denied: the user may run none.
        ResponseError: it refuses the script itself now.
    """
    words: list[Word] = []
    for command in commands:
        words += [len(command), *command]
    replies = await ask("EVAL", _READ_ONLY + _TRY, 0, *words)
    if isinstance(replies, list):
        return [reply.decode("utf-8", "backslashreplace") for reply in replies]
    refused = refusal(replies)
    if _DENIED.search(refused):
        raise Denied(refused)
    if _STATE.match(refused):
        raise replies
    raise NoScript(refused)


async def answer(connection: RedisConnection, *command: Word) -> Any:
    """Return the reply to a command; a refusal as a ResponseError.

    Raises:
        Disconnected: the connection has ended.
    """
    try:
        return await connection.command(*command)
    except ResponseError as error:
        return ResponseError(str(error))


def refusal(reply: object) -> str:
    """Return the text of an error reply, "" for another one."""
    return plain_error(str(reply)) if isinstance(reply, ResponseError) else ""


def _add(names: list[str], name: str) -> None:
    if name not in names:
        names.append(name)
