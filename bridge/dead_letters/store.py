"""Reads and deletes dead letters, over a connection to Dramatiq's Redis of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import ResponseError

from bridge.config import Dramatiq
from bridge.dead_letters.letters import Letter, id_key, is_letter_id, parse_letter
from bridge.dead_letters.scripts import parts, script
from bridge.errors import Disconnected, SinkUnavailable
from bridge.redis_io.connection import RedisConnection, Word, encode_command
from bridge.redis_io.keys import dead_letter_books_key, dead_letters_key
from bridge.redis_io.servers import with_remedy

#: One reply has so many letters at first; later ones as many as fit into _PAGE_BYTES by the mean of the last reply.
_PAGE: Final = 50
_PAGE_BYTES: Final = 2 << 20
_MAX_PAGE: Final = 1000
_PERMISSIONS: Final = "+type +xrange +xdel +hset +hmget +hdel, to retry +rpush +xadd +get +set"
_PURGED_AT_ONCE: Final = 100
_PURGE, _ = script("permissions.lua", "dead_letters.lua", own=("remove.lua", "purge.lua"))


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters are meant; all conditions that are given must hold.

    `older_ms` and `newer_ms` are ids' times in epoch milliseconds. `text` stands in the topic, the error, the body, or a
    header, in any case of its letters.
    """

    source: str | None = None
    route: str | None = None
    reason: str | None = None
    older_ms: int | None = None
    newer_ms: int | None = None
    text: str | None = None

    @property
    def is_given(self) -> bool:
        """Whether there is any condition."""
        return self != Filter()

    def fits(self, letter: Letter) -> bool:
        """Tell whether a letter is meant."""
        pairs = ((self.source, letter.source), (self.route, letter.route), (self.reason, letter.reason))
        if any(wanted is not None and wanted != value for wanted, value in pairs):
            return False
        if self.older_ms is not None and letter.dead_at_ms > self.older_ms:
            return False
        if self.newer_ms is not None and letter.dead_at_ms < self.newer_ms:
            return False
        return self.text is None or _has_text(letter, self.text.casefold())


def _has_text(letter: Letter, text: str) -> bool:
    texts = (letter.topic, letter.error, letter.body.decode("utf-8", "replace"), str(letter.headers), str(letter.meta))
    return any(text in one.casefold() for one in texts)


class Connected:
    """A reader with a connection to the Redis of `dramatiq`. Each call uses it in turn; close it at the end.

    Every method raises SinkUnavailable where Redis can't be reached or refuses; the next call connects anew.
    """

    def __init__(self, dramatiq: Dramatiq) -> None:
        self._dramatiq = dramatiq
        self.namespace = dramatiq.namespace
        self._connection: RedisConnection | None = None

    async def execute(self, *words: Word) -> Any:
        """Return the reply to a command."""
        (reply,) = await self.execute_all([encode_command(*words)])
        if isinstance(reply, ResponseError):
            raise refusal(reply)
        return reply

    async def execute_all(self, encoded_commands: Sequence[bytes], received: list[Any] | None = None) -> list[Any]:
        """Send commands at once, and return their replies; error replies are ResponseErrors among them.

        Each reply is appended to `received` as it comes: they are known where the last ones are lost.
        """
        connection = await self._connected()
        replies: list[Any] = [] if received is None else received
        wanted = len(replies) + len(encoded_commands)
        is_complete = False
        try:
            connection.send(b"".join(encoded_commands))
            while len(replies) < wanted:
                replies += await connection.read_all(wanted - len(replies))
            is_complete = True
        except Disconnected as error:
            raise SinkUnavailable(with_remedy(error.cause), denied=error.denied) from None
        finally:
            # Also when cancelled: the next command must not take these replies for its own.
            if not is_complete:
                await self.close()
        return replies

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connected(self) -> RedisConnection:
        if self._connection is not None and not self._connection.failed:
            return self._connection
        await self.close()
        connection = self._connection = RedisConnection(self._dramatiq, timeout_s=self._dramatiq.timeout / 1000)
        try:
            await connection.open()
        except BaseException as error:
            await self.close()
            if isinstance(error, Disconnected):
                raise SinkUnavailable(with_remedy(error.cause), denied=error.denied) from None
            raise
        return connection


class LetterStore(Connected):
    """The bridge's own dead letters."""

    def __init__(self, dramatiq: Dramatiq) -> None:
        super().__init__(dramatiq)
        self.key = dead_letters_key(dramatiq.namespace)

    async def newest(self, limit: int, wanted: Filter | None = None) -> list[Letter]:
        """Return the newest letters that `wanted` means, at most `limit`, the newest first."""
        found: list[Letter] = []
        async for letter in self.every(wanted, newest_first=True):
            found.append(letter)
            if len(found) >= limit:
                break
        return found

    async def get(self, letter_id: str) -> Letter | None:
        """Return one letter, None if there is none with this id."""
        if not is_letter_id(letter_id):
            return None
        entries = await self.execute("XRANGE", self.key, letter_id, letter_id)
        return parse_letter(*entries[0]) if entries else None

    async def count(self) -> int:
        """Return the number of all letters."""
        return int(await self.execute("XLEN", self.key))

    async def last_id(self) -> str:
        """Return the id of the newest letter, "" without any."""
        entries = await self.execute("XREVRANGE", self.key, "+", "-", "COUNT", 1)
        return entries[0][0].decode() if entries else ""

    async def every(
        self, wanted: Filter | None = None, *, newest_first: bool = False, up_to: str = ""
    ) -> AsyncIterator[Letter]:
        """Yield all letters that `wanted` means, in pages, the oldest first; with `up_to`, none behind that id."""
        async for page in self.pages(wanted, newest_first=newest_first, up_to=up_to):
            for letter in page:
                yield letter

    async def pages(
        self, wanted: Filter | None = None, *, newest_first: bool = False, up_to: str = ""
    ) -> AsyncIterator[list[Letter]]:
        """Yield what `every` does by the pages in which it is read; a page may have no letter that is meant."""
        wanted = wanted or Filter()
        low = "-" if wanted.newer_ms is None else str(wanted.newer_ms)
        high = up_to or "+"
        if wanted.older_ms is not None and (not up_to or wanted.older_ms < id_key(up_to)[0]):
            high = str(wanted.older_ms)
        count = _PAGE
        while True:
            command = ("XREVRANGE", self.key, high, low) if newest_first else ("XRANGE", self.key, low, high)
            entries = await self.execute(*command, "COUNT", count)
            letters = [parse_letter(*entry) for entry in entries if entry[1]]
            yield [letter for letter in letters if wanted.fits(letter)]
            if len(entries) < count:
                return
            last = entries[-1][0].decode()
            # `(` is of Redis 6.2.
            low, high = (low, _before(last)) if newest_first else (_after(last), high)
            mean = sum(letter.size for letter in letters) // max(len(letters), 1) + 1
            count = max(1, min(_MAX_PAGE, _PAGE_BYTES // mean))

    async def purge(self, ids: Sequence[str]) -> int:
        """Delete the letters with these ids; return how many were there."""
        keys = self.key, dead_letter_books_key(self.namespace)
        deleted = 0
        for page in parts(ids, _PURGED_AT_ONCE):
            deleted += int(await self.execute("EVAL", _PURGE, len(keys), *keys, *page))
        return deleted


def refusal(error: ResponseError) -> SinkUnavailable:
    """Return an error reply as the error of the store's methods."""
    text = str(error)
    if text.startswith("WRONGTYPE"):
        text = "the key of the dead letters holds no stream"
    if "NOPERM" in text and "executing the script" in text:
        # Some versions of Redis do not name the command.
        text = f"{text}: the scripts of the dead letters need {_PERMISSIONS}"
    return SinkUnavailable(with_remedy(text), denied=text.startswith(("NOAUTH", "NOPERM", "WRONGPASS")))


def _after(entry_id: str) -> str:
    milliseconds, number = id_key(entry_id)
    return f"{milliseconds}-{number + 1}" if number < 2**64 - 1 else f"{milliseconds + 1}-0"


def _before(entry_id: str) -> str:
    milliseconds, number = id_key(entry_id)
    return f"{milliseconds}-{number - 1}" if number else f"{max(milliseconds - 1, 0)}-{2**64 - 1}"
