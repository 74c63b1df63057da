"""Retries dead letters through today's routes: each one's messages take its place in Redis in one step, or it stays."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
from redis.exceptions import ResponseError

from bridge.config import Config
from bridge.dead_letters.letters import MAX_EARLIER, Earlier, Letter
from bridge.dead_letters.plan import Plan, Planner, Refused
from bridge.dead_letters.scripts import script
from bridge.dead_letters.store import LetterStore, refusal
from bridge.errors import SinkUnavailable
from bridge.model.batch import DeadLetter
from bridge.model.message import MessageIds
from bridge.redis_io.connection import Word, encode_command
from bridge.redis_io.keys import dead_letter_books_key, dead_letters_key, once_key, seen_key
from bridge.routing.redaction import Redaction
from bridge.sink.dead_letters import LetterBounds, encode_letter
from bridge.sink.script_arguments import route_word

Outcome = Literal["retried", "failed", "refused", "gone"]
#: So many letters are sent to Redis at once, and no more bytes of them than this.
_AT_ONCE: Final = 50
_AT_ONCE_BYTES: Final = 2 << 20
#: Of an earlier reason, in characters.
_MAX_EARLIER_ERROR: Final = 300
#: One part of a letter takes at most a share of the bound that `encode_letter` gets: a sixteenth.
_SHARES: Final = 16
#: Errors about one letter's messages, which no later attempt ends.
_PERMANENT: Final = ("WRONGTYPE", "value is not", "string exceeds")


_SCRIPT, _SHA = script("permissions.lua", "dead_letters.lua", own=("remove.lua", "retry.lua"))


@dataclass(frozen=True, slots=True)
class Retried:
    """The outcome of a retry.

    "retried": the letter is gone, and its `messages` are written; `left_out` counts those of routes that were written before.
    "failed": a new letter, `new_id`, has taken its place, with the new `reason` and `detail`; routes that did not fail have
    written their `messages`; `trimmed` older letters made room for it. "refused": it stays, for `detail`. "gone": there is no such letter any more.
    """

    outcome: Outcome
    messages: int = 0
    reason: str = ""
    detail: str = ""
    new_id: str = ""
    left_out: int = 0
    trimmed: int = 0


class Retrier:
    """Retries letters of `store` by the routes of `config`, which have no mistakes."""

    def __init__(self, config: Config, store: LetterStore) -> None:
        self._planner = Planner(config)
        self._redaction = Redaction.of(config)
        self._store = store
        bounds = config.dead_letters
        self._bounds = LetterBounds(bounds.max_length, bounds.max_size, bounds.max_age)
        self._is_loaded = False

    async def retry(self, letter: Letter, route: str | None = None, *, as_is: bool = False) -> Retried:
        """Retry one letter: through the route that failed, through `route`, or through all of its source with `as_is`.

        Raises:
            SinkUnavailable: Redis can't be reached or takes no write; where its reply is lost, the letter tells: it is there, or not.
        """
        ((_, retried),) = [pair async for pair in self.retry_all([letter], route, as_is=as_is)]
        return retried

    async def retry_all(
        self, letters: Sequence[Letter], route: str | None = None, *, as_is: bool = False
    ) -> AsyncIterator[tuple[Letter, Retried]]:
        """Retry letters, and yield each with its outcome, in their order; some go to Redis at once.

        Raises:
            SinkUnavailable: as `retry`; the outcomes of those before have been yielded.
        """
        waiting = deque(letters)
        while waiting:
            chunk: list[Letter] = []
            size = 0
            while waiting and len(chunk) < _AT_ONCE and size < _AT_ONCE_BYTES:
                chunk.append(waiting.popleft())
                size += chunk[-1].size
            async for pair in self._retry_chunk(chunk, route, as_is=as_is):
                yield pair

    async def _retry_chunk(
        self, letters: Sequence[Letter], route: str | None, *, as_is: bool
    ) -> AsyncIterator[tuple[Letter, Retried]]:
        now_ms = time.time_ns() // 1_000_000
        ids = MessageIds(now_ms)
        plans = [self._plan(letter, ids, route, as_is=as_is) for letter in letters]
        made = [
            (letter, plan, self._words(letter, plan, now_ms))
            for letter, plan in zip(letters, plans, strict=True)
            if isinstance(plan, Plan)
        ]
        replies: list[Any] = []
        failure: SinkUnavailable | None = None
        try:
            if not self._is_loaded and made:
                replies.append((await self._store.execute_all([encode_command("EVAL", _SCRIPT, *made[0][2])]))[0])
                self._is_loaded = not isinstance(replies[0], ResponseError)
            commands = [encode_command("EVALSHA", _SHA, *words) for _, _, words in made[len(replies) :]]
            if commands:
                await self._store.execute_all(commands, replies)
        except SinkUnavailable as error:
            failure = error
        outcomes = iter(replies)
        sent = iter(made)
        for letter, plan in zip(letters, plans, strict=True):
            if isinstance(plan, Retried):
                yield letter, plan
                continue
            _, _, words = next(sent)
            reply = next(outcomes, None)
            try:
                if reply is not None:
                    yield letter, await self._outcome(letter, plan, words, reply)
            except SinkUnavailable as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _plan(self, letter: Letter, ids: MessageIds, route: str | None, *, as_is: bool) -> Plan | Retried:
        try:
            return self._planner.plan(letter, ids, route, as_is=as_is)
        except Refused as refused:
            return Retried("refused", reason=refused.reason, detail=refused.detail)

    async def _outcome(self, letter: Letter, plan: Plan, words: list[Word], reply: Any) -> Retried:
        """Return the outcome of a letter whose call of the script has this reply; call it again where that is necessary."""
        if _begins(reply, "NOSCRIPT"):
            (reply,) = await self._store.execute_all([encode_command("EVAL", _SCRIPT, *words)])
        if _begins(reply, *_PERMANENT):
            plan = _refused_by_redis(letter, plan, str(reply))
            words = self._words(letter, plan, time.time_ns() // 1_000_000)
            (reply,) = await self._store.execute_all([encode_command("EVAL", _SCRIPT, *words)])
        if isinstance(reply, ResponseError):
            raise refusal(reply)
        if reply == b"gone":
            return Retried("gone", detail="it is not there any more: it was retried, purged, or made room for others")
        written, left_out, trimmed, new = reply
        if new:
            new_id, _, name = new.partition(b" ")
            first = next(one for one in plan.letters if route_word(one.route) == name)
            detail = self._redaction.letter(first).detail
            return Retried("failed", written, first.reason, detail, new_id.decode(), left_out, trimmed)
        detail = _written_already(plan) if left_out and not written else ""
        return Retried("retried", written, detail=detail, left_out=left_out)

    def _words(self, letter: Letter, plan: Plan, now_ms: int) -> list[Word]:
        """Return the keys and the arguments of the script, as its header lists them."""
        namespace = self._store.namespace
        keys: list[Word] = [dead_letters_key(namespace), dead_letter_books_key(namespace)]
        values: list[Word] = [letter.id, len(plan.messages)]
        gate_keys: list[Word] = []
        for route, queue, redis_id, body, gate in plan.messages:
            keys += (f"{namespace}:{queue}", f"{namespace}:{queue}.msgs")
            values += (route_word(route), redis_id, body, 0 if gate is None else gate.rule.lifetime_ms)
            if gate is not None:
                gate_keys.append(once_key(namespace, gate.rule.route).encode() + gate.key)
        keys += gate_keys
        if plan.seen_key:
            keys.append(seen_key(namespace, plan.seen_prefix).encode() + plan.seen_key)
        values += (plan.lifetime_ms, plan.new_lifetime_ms, len(plan.letters))
        for one in plan.letters:
            fields = self._fields(letter, one, now_ms)
            values += (route_word(one.route), len(fields) // 2, *fields)
        bounds = self._bounds
        return [len(keys), *keys, *values, bounds.max_length, bounds.max_bytes, bounds.max_age_ms]

    def _fields(self, letter: Letter, new: DeadLetter, now_ms: int) -> list[Word]:
        """Return the names and values of the letter that takes the place of `letter`, with the reasons before."""
        before = Earlier(letter.reason, letter.error[:_MAX_EARLIER_ERROR], letter.route, now_ms)
        # A letter may be older than `redact`.
        hide = self._redaction.hiding(new.event)
        earlier = [
            msgspec.structs.replace(each, error=hide(each.error)) for each in [*letter.earlier, before][-MAX_EARLIER:]
        ]
        # Whatever the bounds are by now: a body that is whole stays whole.
        fields = encode_letter(self._redaction.letter(new), max(self._bounds.max_bytes, _SHARES * letter.size))
        if letter.details_error:
            fields += ("details_error", letter.details_error.encode("utf-8", "backslashreplace"))
        return [*fields, "retries", letter.retries + 1, "earlier", msgspec.json.encode(earlier)]


def _refused_by_redis(letter: Letter, plan: Plan, cause: str) -> Plan:
    """Return the plan of a letter of which Redis will never take a message: none is written, as in a batch."""
    routes = {route for route, *_ in plan.messages}
    name = routes.pop() if len(routes) == 1 and not plan.letters else letter.route
    plan.messages = []
    plan.letters = [DeadLetter(plan.event, "refused-by-redis", cause, name)]
    return plan


def _written_already(plan: Plan) -> str:
    is_gated = any(gate is not None for *_, gate in plan.messages)
    return f"written already: the event{', or one with its key,' if is_gated else ''} came again"


def _begins(reply: object, *words: str) -> bool:
    return isinstance(reply, ResponseError) and str(reply).startswith(words)
