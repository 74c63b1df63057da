"""The dead letters of Dramatiq's workers: `<namespace>:<queue>.XQ`, a sorted set of ids by their time, and its hash of bodies.

Workers put a message there that has failed for the last time, and delete it after seven days.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec
from redis.exceptions import ResponseError

from bridge.config import Dramatiq
from bridge.dead_letters.retry import Retried
from bridge.dead_letters.scripts import parts, script
from bridge.dead_letters.store import Connected, refusal
from bridge.errors import SinkUnavailable
from bridge.redis_io.connection import encode_command

#: So many ids are read of one queue in one run, the oldest; the next run reads the others.
MAX_IDS: Final = 200_000
_ID_PAGE: Final = 5_000
_BODY_PAGE: Final = 50
_SUFFIX: Final = ".XQ"
#: Without one of these no worker can read a message: its consumer would fail on it again and again.
_NEEDED: Final = (("actor_name", str), ("args", list), ("kwargs", dict), ("message_id", str))
#: The end of the year 9999.
_LAST_MS: Final = 253_402_300_799_999
#: The options that a worker adds to a message that fails: without them it has all its attempts again.
_ADDED: Final = ("retries", "traceback", "requeue_timestamp", "eta")
_SCRIPT, _SHA = script("permissions.lua", own=("worker_letters.lua",))


class WorkerLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a worker has given up. `id` is its redis_message_id; of a body that is no message all else is empty."""

    id: str
    queue: str
    dead_at_ms: int
    body: bytes
    message: dict[str, Any] = {}

    @property
    def actor(self) -> str:
        """The actor that it calls."""
        return str(self.message.get("actor_name", ""))

    @property
    def message_id(self) -> str:
        """The id that it has kept through all its attempts."""
        return str(self.message.get("message_id", ""))

    @property
    def options(self) -> dict[str, Any]:
        """Its options."""
        options = self.message.get("options")
        return options if isinstance(options, dict) else {}

    @property
    def error(self) -> str:
        """The last line of its traceback, "" without one: no worker knew its actor, or it was too old."""
        lines = str(self.options.get("traceback") or "").strip().splitlines()
        return lines[-1] if lines else ""


class WorkerStore(Connected):
    """The dead letters of the workers in the Redis of `dramatiq`, of all its queues or of `queue` alone."""

    def __init__(self, dramatiq: Dramatiq, queue: str | None = None, queues: Sequence[str] = ()) -> None:
        super().__init__(dramatiq)
        self._queue = queue
        self._known = queues
        #: The queues of which the last reading has left out letters beyond MAX_IDS.
        self.left_out: set[str] = set()

    async def queues(self) -> list[str]:
        """Return the queues that may have dead letters: those that are known, and all that SCAN finds, where it is permitted."""
        if self._queue is not None:
            return [self._queue]
        found = set(self._known)
        prefix = f"{self.namespace}:"
        escaped = "".join(f"\\{char}" if char in r"*?[]\^-" else char for char in prefix)
        cursor: Any = 0
        while True:
            try:
                cursor, keys = await self.execute("SCAN", cursor, "MATCH", f"{escaped}*{_SUFFIX}", "COUNT", 1000)
            except SinkUnavailable as error:
                if error.denied and self._known:
                    break
                raise
            names = (key.decode("utf-8", "backslashreplace").removeprefix(prefix) for key in keys)
            # No queue has a colon in its name: such a key is another application's, whose namespace begins as this one.
            found.update(name.removesuffix(_SUFFIX) for name in names if ":" not in name)
            if int(cursor) == 0:
                break
        return sorted(found)

    async def count(self) -> int:
        """Return the number of all letters."""
        return sum([int(await self.execute("ZCARD", self._set(queue))) for queue in await self.queues()])

    async def pages(self, *, newest_first: bool = False) -> AsyncIterator[list[WorkerLetter]]:
        """Yield all letters, queue by queue, the oldest first, or the newest; those that come meanwhile are left out."""
        for queue in await self.queues():
            ids = await self._ids(queue, newest_first=newest_first)
            for page in parts(ids, _BODY_PAGE):
                yield await self._read(queue, page)

    async def get(self, letter_id: str) -> WorkerLetter | None:
        """Return a letter by its redis_message_id, or else by its message_id; None if there is none."""
        queues = await self.queues()
        for queue in queues:
            score = await self.execute("ZSCORE", self._set(queue), letter_id)
            if score is not None:
                found = await self._read(queue, [(letter_id.encode(), score)])
                return found[0] if found else None
        async for page in self.pages():
            for letter in page:
                if letter.message_id == letter_id:
                    return letter
        return None

    async def retry_all(
        self, letters: Sequence[WorkerLetter], *, as_is: bool = False
    ) -> AsyncIterator[tuple[WorkerLetter, Retried]]:
        """Put letters back into their queues, and yield each with its outcome, in their order.

        Each has all its attempts again; with `as_is` it goes back unchanged.

        Raises:
            SinkUnavailable: Redis can't be reached or takes no write; the outcomes of those before have been yielded.
        """
        for page in parts(letters, _BODY_PAGE):
            made = [(letter, renewed(letter, as_is=as_is)) for letter in page]
            commands = [self._retry(letter, *message) for letter, message in made if not isinstance(message, Retried)]
            replies: list[Any] = []
            failure: SinkUnavailable | None = None
            try:
                await self.execute_all(commands, replies)
            except SinkUnavailable as error:
                failure = error
            given = iter(replies)
            for letter, message in made:
                if isinstance(message, Retried):
                    yield letter, message
                elif (reply := next(given, None)) is None:
                    continue
                elif isinstance(reply, ResponseError):
                    if not str(reply).startswith("WRONGTYPE"):
                        failure = failure or refusal(reply)
                        continue
                    yield letter, Retried("refused", reason="refused-by-redis", detail=str(reply))
                else:
                    yield letter, _outcome(reply)
            if failure is not None:
                raise failure

    async def purge(self, letters: Sequence[WorkerLetter]) -> int:
        """Delete letters; return how many were there."""
        deleted = 0
        for queue in dict.fromkeys(letter.queue for letter in letters):
            ids = [letter.id for letter in letters if letter.queue == queue]
            for page in parts(ids, _BODY_PAGE):
                keys = (self._set(queue), self._bodies(queue))
                deleted += int(await self.execute("EVAL", _SCRIPT, len(keys), *keys, *page))
        return deleted

    def _retry(self, letter: WorkerLetter, queue: str, new_id: str, body: bytes) -> bytes:
        key = f"{self.namespace}:{queue}"
        keys = (self._set(letter.queue), self._bodies(letter.queue), key, f"{key}.msgs")
        return encode_command("EVAL", _SCRIPT, len(keys), *keys, letter.id, new_id, body)

    async def _ids(self, queue: str, *, newest_first: bool) -> list[tuple[bytes, bytes]]:
        """Return the ids and the times of a queue's letters, up to MAX_IDS."""
        ids: list[tuple[bytes, bytes]] = []
        name = "ZREVRANGE" if newest_first else "ZRANGE"
        while len(ids) < MAX_IDS:
            stop = len(ids) + _ID_PAGE - 1
            flat = await self.execute(name, self._set(queue), len(ids), stop, "WITHSCORES")
            ids += zip(flat[::2], flat[1::2], strict=True)
            if len(flat) < 2 * _ID_PAGE:
                break
        else:
            self.left_out.add(queue)
        return ids

    async def _read(self, queue: str, ids: Sequence[tuple[bytes, bytes]]) -> list[WorkerLetter]:
        bodies = await self.execute("HMGET", self._bodies(queue), *(letter_id for letter_id, _ in ids))
        return [
            parse_worker_letter(letter_id, queue, score, body)
            for (letter_id, score), body in zip(ids, bodies, strict=True)
            if body is not None
        ]

    def _set(self, queue: str) -> str:
        return f"{self.namespace}:{queue}{_SUFFIX}"

    def _bodies(self, queue: str) -> str:
        return f"{self._set(queue)}.msgs"


def parse_worker_letter(letter_id: bytes, queue: str, score: bytes, body: bytes) -> WorkerLetter:
    """Return the letter of an entry. Raises nothing: an application may have an encoder of its own."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        message = {}
    return WorkerLetter(
        id=letter_id.decode("utf-8", "backslashreplace"),
        queue=queue,
        dead_at_ms=_milliseconds(score),
        body=body,
        message=message if isinstance(message, dict) else {},
    )


def _milliseconds(score: bytes) -> int:
    """Return the time of a score, which may be any number, and infinite."""
    return int(min(max(float(score), 0.0), _LAST_MS))


def renewed(letter: WorkerLetter, *, as_is: bool) -> tuple[str, str, bytes] | Retried:
    """Return the queue, the redis_message_id and the body with which a letter goes back; or why it can't.

    It keeps its message_id. Its time is new, since an actor may have a `max_age`, and it goes to its queue without a delay.
    """
    message = letter.message
    queue = message.get("queue_name")
    if as_is:
        if queue not in (letter.queue, f"{letter.queue}.DQ"):
            return Retried("refused", reason="no-message", detail=f"the body is no message of the queue {letter.queue}")
        if letter.options.get("redis_message_id") != letter.id:
            return Retried(
                "refused", reason="no-message", detail="its redis_message_id is another one: no worker could take it"
            )
        return str(queue), letter.id, letter.body
    if not letter.options or not all(isinstance(message.get(name), kind) for name, kind in _NEEDED):
        return Retried(
            "refused", reason="no-message", detail="the body is no message in JSON; --as-is puts it back unread"
        )
    new_id = str(uuid.uuid4())
    options = {name: value for name, value in letter.options.items() if name not in _ADDED}
    options["redis_message_id"] = new_id
    new = {**message, "queue_name": letter.queue, "options": options, "message_timestamp": time.time_ns() // 1_000_000}
    return letter.queue, new_id, json.dumps(new, separators=(",", ":")).encode()


def _outcome(reply: int) -> Retried:
    if reply > 0:
        return Retried("retried", 1)
    if reply < 0:
        return Retried("refused", reason="waiting", detail="a message with its id waits in the queue already")
    return Retried("gone", detail="it is not there any more: it was retried, or purged")
