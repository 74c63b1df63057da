"""One connection to Redis, read and written in bulk.

redis-py logs in; then the transport gets this protocol in place of redis-py's.
hiredis parses in one pass all bytes that have arrived, which may hold a thousand replies: redis-py awaits each reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque
from typing import Any, Final

import hiredis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bridge.config import Connection, tls
from bridge.config.units import spell_size
from bridge.connecting.attempt import Attempt
from bridge.errors import Disconnected, describe_error
from bridge.garbage import collect_soon
from bridge.redis_io import client as redis_client

#: When more bytes of replies wait to be read, reading stops and TCP holds Redis back.
_MAX_WAITING_BYTES: Final = 1 << 20

#: A wait that ends so much later than it should: the process stood still, and a reply may wait in the socket.
_LATE_S: Final = 1.0

_DETAILS: Final = re.compile(r", with args beginning with.*| script: [0-9a-f]{40}, on @user_script:\d+\.?", re.DOTALL)

#: The words before the code of an error, with those of Redis before 7.0 where the error comes from inside a script (observed).
_BEFORE_CODE: Final = re.compile(
    r"^(ERR )?(Error running script \(call to f_[0-9a-f]{40}\): )?((@user_script:\s*\d+: )+-?)?(ERR )?"
)
#: How a denial begins that a script met, which has no code: before Redis 7.2, and later (observed).
_DENIED_IN_SCRIPT: Final = ("The user executing the script can't", "ACL failure in script")

_TIMEOUTS: Final = (TimeoutError, RedisTimeoutError)
_TIMED_OUT: Final = "timed out"
#: Redis's words to a client without a password: to a command, by way of redis-py, and to a large command.
NEEDS_PASSWORD: Final = ("NOAUTH", "Authentication required", "Protocol error: unauthenticated")
#: A user who may not use another database than 0.
_SELECT: Final = "'select' command"

Word = str | bytes | int


def encode_word(word: Word) -> bytes:
    r"""Return one word of a command in Redis's protocol: its length in bytes, then itself; `x` is `$1\r\nx\r\n`."""
    raw = word if isinstance(word, bytes) else str(word).encode()
    return b"$%d\r\n%b\r\n" % (len(raw), raw)


def encode_command(*words: Word) -> bytes:
    """Return a whole command in Redis's protocol."""
    return b"*%d\r\n%b" % (len(words), b"".join(map(encode_word, words)))


class RedisConnection(asyncio.Protocol):
    """Exactly one connection, which never reconnects; every wait for a reply ends after `timeout_s`.

    redis-py's client and its PubSub reconnect silently, and messages published in the gap are
    lost without a sign (6 of 22 messages, observed). Replies are RESP2's: bytes, int, None, or a list of these.
    """

    def __init__(self, connection: Connection, *, timeout_s: float) -> None:
        self._config = connection
        self._timeout_s = timeout_s
        #: A larger reply ends the connection before it is received; None: a reply may be as large as Redis allows.
        self.max_reply_bytes: int | None = None
        #: Whether that was the end of the connection.
        self.reply_too_large = False
        self._login: redis_client.Login | None = redis_client.Login(connection, timeout_s=timeout_s)
        self._transport: Any = None
        self._reader = hiredis.Reader(replyError=_response_error)
        self._replies: deque[Any] = deque()
        self._waiting_bytes = 0
        self._paused = False
        self._wake = asyncio.Event()
        #: Why the connection has ended, and whether that was a denial; an error that is kept would keep its frames.
        self._end: tuple[str, bool] | None = None

    async def open(self) -> None:
        """Connect and log in, within the connection's `connect_timeout`.

        Raises:
            Disconnected: the server can't be reached, or refuses.
        """
        assert self._login is not None  # noqa: S101 - it is not closed
        try:
            async with Attempt(self._config.connect_timeout / 1000) as attempt:
                try:
                    self._transport = await self._login.log_in(attempt)
                finally:
                    # redis-py can swallow a cancellation (8.1.0, observed); a caller who cancels once would hang.
                    if (task := asyncio.current_task()) is not None and task.cancelling() > 0:
                        raise asyncio.CancelledError
        except redis_client.FAULTS as error:
            raise self._fail(error, self._explain(error)) from None
        except Disconnected as fault:  # a file of `tls`
            raise self._fail(fault) from None
        self._transport.set_protocol(self)
        if self._transport.is_closing():
            raise self._fail(ConnectionError("the connection was closed"))

    @property
    def failed(self) -> bool:
        """Whether the connection has ended."""
        return self._end is not None

    def send(self, encoded_command: bytes) -> None:
        """Send a command; `read` returns its reply.

        Raises:
            Disconnected: the connection has ended.
        """
        if self._end is not None:
            raise _disconnected(self._end)
        self._transport.write(encoded_command)

    async def read(self) -> Any:
        """Return the next reply.

        Raises:
            Disconnected: no reply within `timeout_s`, or the connection has ended.
            ResponseError: the reply is an error; the connection continues.
        """
        await self._wait_for_reply()
        reply = self._replies.popleft()
        if not self._replies:
            self._resume_reading()
        if isinstance(reply, ResponseError):
            try:
                raise reply
            finally:
                del reply  # the error's traceback holds this frame: a cycle, which keeps every caller's command
        return reply

    async def read_all(self, max_replies: int) -> list[Any]:
        """Return the replies that have arrived, from one to `max_replies`; an error among them is a ResponseError.

        Raises:
            Disconnected: as `read`.
        """
        await self._wait_for_reply()
        replies = [self._replies.popleft() for _ in range(min(max_replies, len(self._replies)))]
        if not self._replies:
            self._resume_reading()
        return replies

    async def command(self, *words: Word) -> Any:
        """Send a command and return its reply; only where no other task reads from this connection.

        Raises:
            Disconnected: as `read`.
            ResponseError: as `read`.
        """
        self.send(encode_command(*words))
        return await self.read()

    async def close(self) -> None:
        """Close the connection."""
        self._end = self._end or ("closed", False)
        if self._transport is not None:
            self._transport.abort()
        if self._login is not None:
            with contextlib.suppress(Exception):
                await self._login.disconnect(nowait=True)  # waits for nothing, so no cancellation is swallowed
        await asyncio.sleep(0)  # the transport closes its socket in the event loop's next round
        self._login = None
        collect_soon()  # redis-py leaves rings of 10 KB behind (observed)

    def data_received(self, data: bytes) -> None:
        """Parse `data`; called by the transport."""
        reader, replies = self._reader, self._replies
        reader.feed(data)
        try:
            # hiredis returns `False` for an incomplete reply; no reply of RESP2 has this value.
            while (reply := reader.gets()) is not False:
                replies.append(reply)
        except hiredis.ProtocolError as error:
            self._fail(error)
            self._transport.abort()
        self._waiting_bytes += len(data)
        if self._waiting_bytes > _MAX_WAITING_BYTES:
            if replies:
                self._transport.pause_reading()
                self._paused = True
            elif self.max_reply_bytes is not None and self._waiting_bytes > self.max_reply_bytes:
                self.reply_too_large = True
                self._fail(ConnectionError(f"a reply of more than {spell_size(self.max_reply_bytes)}"))
                self._transport.abort()
        self._wake.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Record the end; called by the transport."""
        self._fail(error or ConnectionError("Connection closed by server."))
        self._wake.set()

    async def _wait_for_reply(self) -> None:
        if self._replies:
            return
        loop = asyncio.get_running_loop()
        while True:
            end = loop.time() + self._timeout_s
            try:
                async with asyncio.timeout_at(end):
                    while not self._replies:
                        if self._end is not None:
                            raise _disconnected(self._end)
                        self._wake.clear()
                        await self._wake.wait()
            except TimeoutError as error:
                # uvloop calls timers before it reads. A reconnect would lose the messages of pub/sub that have come.
                if loop.time() < end + _LATE_S:
                    self._transport.abort()
                    raise self._fail(error) from None
            else:
                return

    def _resume_reading(self) -> None:
        self._waiting_bytes = 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def _explain(self, error: BaseException) -> str:
        """Return why the connection could not be made."""
        if isinstance(error, NoPermissionError) and _SELECT in str(error):
            return f"{str(error).rstrip('.')}: ACL SETUSER {redis_client.user_of(self._config)} +select"
        if not isinstance(error, _TIMEOUTS):
            return _with_hint(tls.explain(error, self._config.url))
        # A Redis without TLS takes a TLS handshake for the beginning of a command, and waits for its end.
        return f"{_TIMED_OUT}: perhaps this port speaks no TLS" if self._config.url.startswith("rediss") else _TIMED_OUT

    def _fail(self, error: BaseException, cause: str = "") -> Disconnected:
        if self._end is None:
            cause = cause or (_TIMED_OUT if isinstance(error, _TIMEOUTS) else describe_error(error))
            self._end = cause, isinstance(error, (AuthenticationError, NoPermissionError))
        return _disconnected(self._end)


def _disconnected(end: tuple[str, bool]) -> Disconnected:
    cause, denied = end
    return Disconnected(cause, denied=denied)


def plain_error(text: str) -> str:
    """Return the text of an error reply from its code on, alike for each version of Redis.

    ERR is cut off, since it only says that an error has no code of its own; users look for the other codes. So are arguments,
    which may be an event's, and the line of a script, which says nothing to a user.
    """
    plain = _DETAILS.sub("", _BEFORE_CODE.sub("", text, count=1))
    return f"NOPERM {plain}" if plain.startswith(_DENIED_IN_SCRIPT) else plain


def _response_error(text: str) -> ResponseError:
    return ResponseError(_with_hint(plain_error(text)))


def _with_hint(text: str) -> str:
    return f"{text.rstrip('.')}: this Redis wants a password" if text.startswith(NEEDS_PASSWORD) else text
