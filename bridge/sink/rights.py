"""The rights that the scripts need in Dramatiq's Redis, asked for without a write: for `check --connect`, and at a start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bridge.config import Dramatiq
from bridge.redis_io import rights
from bridge.redis_io.connection import Word
from bridge.redis_io.keys import dead_letters_key
from bridge.redis_io.servers import with_remedy

#: Sends a command, and returns its reply; an error reply as a ResponseError.
Ask = Callable[..., Awaitable[Any]]
_BOOKS: Final = "dead letters that its books have not"
#: What the bridge does not know without each of these.
_OPTIONAL: Final = {
    "INFO": "the version, the memory, maxmemory-policy and appendonly",
    "TIME": "dead letters that reach `max_age` while none is written",
    "XLEN": _BOOKS,
    "MEMORY|USAGE": _BOOKS,
}
_OF_DEPTH: Final = "queues that are full (max_queue_depth)"
_OF_ADMIN: Final = "the numbers of each queue (admin)"
_OF_LETTERS: Final = frozenset({"XLEN", "MEMORY|USAGE"})


@dataclass(frozen=True, slots=True)
class Denial:
    """Rights that are missing, in words, and the command of Redis that gives them, "" where none does.

    Without those that are needed no batch can be written.
    """

    is_needed: bool
    text: str
    line: str


class SinkRights:
    """Asks for the rights of the user of `dramatiq`.

    `commands` are those of the scripts, with arguments behind the key; `queues` those of the routes; `counts_queues` says
    whether the admin server asks for their numbers.
    """

    def __init__(
        self, dramatiq: Dramatiq, commands: Mapping[str, str], queues: Sequence[str], *, counts_queues: bool
    ) -> None:
        self._dramatiq = dramatiq
        self._commands = commands
        self._queues = queues
        self._counts_queues = counts_queues

    async def ask(self, ask: Ask) -> list[Denial]:
        """Return the rights that are missing.

        Raises:
            NoScript: this server does not tell.
            ResponseError: it refuses to answer now.
        """
        needed, optional = self._needed(), self._optional()
        missing, lesser = rights.MissingRights(self._dramatiq), rights.MissingRights(self._dramatiq)
        try:
            replies = await rights.try_in_script(ask, [*(words for *_, words in needed), *optional.values()])
        except rights.Denied as error:
            missing.note("eval", str(error))
            # Nothing tells what else is missing.
            text = f"{missing.text}, without which nobody can ask for its other rights: the line gives all that a batch needs"
            missing.commands += ["evalsha", *map(str.lower, self._commands)]
            missing.keys += self._patterns()
            return [Denial(is_needed=True, text=text, line=missing.line)]
        for (name, pattern, _), reply in zip(needed, replies, strict=False):
            missing.note(name, reply, pattern=pattern)
        missing.note("evalsha", rights.refusal(await ask("EVALSHA", "0" * 40, 0)))
        queues, own = self._patterns()
        for name, reply in zip(optional, replies[len(needed) :], strict=True):
            lesser.note(name, reply, pattern=own if name in _OF_LETTERS else queues)
        missing.take_keys(lesser)
        return list(self._denials(missing, lesser))

    def _denials(self, missing: rights.MissingRights, lesser: rights.MissingRights) -> list[Denial]:
        denials = [Denial(True, with_remedy(f"unknown command '{command}'"), "") for command in missing.unknown]
        if missing.any:
            denials.append(Denial(is_needed=True, text=missing.text, line=missing.line))
        if lesser.commands:
            lost = "; ".join(dict.fromkeys(self._lost(name.upper()) for name in lesser.commands))
            text = f"{lesser.text}: the bridge does not know {lost}"
            denials.append(Denial(is_needed=False, text=text, line=lesser.line))
        return denials

    def _patterns(self) -> tuple[str, str]:
        """Return the patterns of the keys of Dramatiq's queues, and of the bridge."""
        namespace = rights.literal(self._dramatiq.namespace)
        return f"{namespace}:*", f"{namespace}-bridge:*"

    def _needed(self) -> list[tuple[str, str, list[Word]]]:
        """Return each command that a batch needs, the pattern of its key, and its words."""
        namespace = self._dramatiq.namespace
        queues, own = self._patterns()
        letters: list[Word] = ["XADD", dead_letters_key(namespace), "x", "x", "x"]
        needed: list[tuple[str, str, list[Word]]] = [("XADD", own, letters)]
        for name, words in self._commands.items():
            needed.append((name, own, [name, f"{namespace}-bridge:probe", *words.split()]))
        for queue in self._queues:
            needed.append(("RPUSH", queues, ["RPUSH", f"{namespace}:{queue}", "x"]))
            needed.append(("HSET", queues, ["HSET", f"{namespace}:{queue}.msgs", "x", "x"]))
        return needed

    def _optional(self) -> dict[str, list[Word]]:
        """Return the words of each command that the bridge goes on without."""
        namespace = self._dramatiq.namespace
        letters = dead_letters_key(namespace)
        first = f"{namespace}:{next(iter(self._queues), 'default')}"
        optional: dict[str, list[Word]] = {"INFO": ["INFO", "server"], "TIME": ["TIME"], "XLEN": ["XLEN", letters]}
        optional["MEMORY|USAGE"] = ["MEMORY", "USAGE", letters]
        if self._dramatiq.max_queue_depth or self._counts_queues:
            optional["LLEN"] = ["LLEN", first]
        if self._counts_queues:
            optional |= {"HLEN": ["HLEN", f"{first}.msgs"], "ZCARD": ["ZCARD", f"{first}.XQ"]}
        return optional

    def _lost(self, command: str) -> str:
        """Return what the bridge does not know without a command."""
        if command == "LLEN" and self._dramatiq.max_queue_depth:
            return _OF_DEPTH
        return _OPTIONAL.get(command, _OF_ADMIN)
