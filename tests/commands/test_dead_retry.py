"""`dead retry`: ten thousand letters, interrupted, killed, without Redis in the middle: each exactly once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.dead_letters.store import LetterStore
from bridge.errors import SinkUnavailable
from tests.support.brokers import Redis
from tests.support.dead_commands import MANY, ROUTE, fill, length, retrying, shorter, written
from tests.support.letters import ORDERS, Desk, order
from tests.support.redis_faults import forbidden, no_replicas, out_of_memory, readonly
from tests.support.terminal import Terminal as RealTerminal


async def test_ten_thousand_letters_and_sigkill_in_the_middle(desk: Desk) -> None:
    """Several times, at any moment; then to the end: each letter is written exactly once, in order, and none is left."""
    await fill(desk, MANY)
    for left in (9_000, 6_500, 6_400, 2_000):
        process = retrying(desk)
        await shorter(desk, left)
        process.kill()
        process.communicate(timeout=60)
    assert 0 < length(desk) < 2_000
    assert len(written(desk)) + length(desk) == MANY
    process = retrying(desk)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "retried; " in out
    assert written(desk) == list(range(MANY))
    assert desk.books() == {"count": 0, "bytes": 0, "length": 0, "blocks": 0}


async def test_lines_of_progress_on_a_pipe(desk: Desk) -> None:
    """One for each two thousand; the summary is on standard output."""
    await fill(desk, 4_100)
    process = retrying(desk)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert out == "4,100 retried; 4,100 messages written\n"
    assert err.splitlines() == ["2,000 of 4,100 done", "4,000 of 4,100 done"]


async def test_ctrl_c_on_a_terminal(desk: Desk) -> None:
    """A bar; at Ctrl-C the letters on their way are finished, the summary is printed, and the others are as they were."""
    await fill(desk, MANY)
    with RealTerminal(["dead", "retry", "--all", "--config", str(desk.path)]) as terminal:
        terminal.read_until(" of 10,000 done")
        assert "[#" in terminal.text or "[." in terminal.text
        terminal.press("\x03")
        assert terminal.wait() == 130
        assert "interrupted: the letters that are left are as they were" in terminal.text
        summary = re.search(r"([0-9,]+) retried; ", terminal.text)
        assert summary is not None
        said = int(summary[1].replace(",", ""))
    assert len(written(desk)) == said
    assert length(desk) == MANY - said
    assert written(desk) == list(range(said))


async def test_connections_that_are_lost_in_the_middle(desk: Desk) -> None:
    """The reply to some is lost: the command says so and fails; the next ones do the rest, and none twice."""
    await fill(desk, MANY)
    failures = 0
    for left in (8_000, 5_000, 1_000, -1):
        process = retrying(desk)
        if left > 0:
            await shorter(desk, left)
            with desk.server.client() as client:
                client.client_kill_filter(_type="normal", skipme=True)
        out, err = process.communicate(timeout=120)
        if process.returncode:
            failures += 1
            # By FIN, or by RST where a command was on its way.
            assert re.search("Redis: .*Connection (closed by server|reset by peer)", err)
            assert "the letters that are left are as they were: retry again" in err
            assert " retried; " in out
    assert failures >= 1
    assert written(desk) == list(range(MANY))
    assert length(desk) == 0


async def test_a_redis_that_dies_in_the_middle(new_redis: Callable[..., Redis], tmp_path: Path) -> None:
    """SIGKILL for one that keeps everything on disk; once it is back, the rest is retried."""
    server = new_redis({"appendfsync": "always"}, appendonly=True)
    desk = Desk(server, tmp_path / "bridge.yaml")
    desk.connect()
    await fill(desk, 3_000)
    process = retrying(desk)
    await shorter(desk, 2_500)
    server.kill()
    process.communicate(timeout=60)
    assert process.returncode == 1
    server.start()
    process = retrying(desk)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert written(desk) == list(range(3_000))
    assert desk.books()["count"] == 0
    await desk.store.close()


@pytest.mark.parametrize("fault", [out_of_memory, forbidden, no_replicas, readonly])
async def test_a_redis_that_takes_no_writes(new_redis: Callable[..., Redis], tmp_path: Path, fault: Any) -> None:
    """The command says why; no letter has gone, and nothing is written. Afterwards it all works."""
    desk = Desk(new_redis(), tmp_path / "bridge.yaml")
    desk.connect()
    await fill(desk, 70)
    with fault(desk.server) as words:
        process = retrying(desk)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 1
        assert words.lower() in err.lower()
        assert out == "" or out.startswith("0 retried")
        assert (length(desk), desk.books()["count"]) == (70, 70)
    process = retrying(desk)
    process.communicate(timeout=60)
    assert written(desk) == list(range(70))
    await desk.store.close()


#: All that the retry of a letter needs, beside the connection's own: the permissions that the documents name.
NEEDED = (
    "eval",
    "evalsha",
    "type",
    "xlen",
    "xrange",
    "xrevrange",
    "xdel",
    "hset",
    "hmget",
    "hdel",
    "rpush",
    "xadd",
    "get",
    "set",
)
RETRY_ACL = f"~dramatiq:* ~dramatiq-bridge:* -@all {' '.join(f'+{name}' for name in NEEDED)}"


@contextmanager
def user(desk: Desk, rights: str) -> Iterator[None]:
    """Let the file's user have these permissions."""
    with desk.server.client() as client:
        client.execute_command("ACL", "SETUSER", "clerk", "reset", "on", ">p", *rights.split())
        try:
            yield
        finally:
            client.execute_command("ACL", "DELUSER", "clerk")


async def test_the_minimal_acl_is_enough(desk: Desk) -> None:
    """Retries that succeed, that fail and make new letters, with a deduplication key, and a purge."""
    await fill(desk, 3)
    letters = await desk.receive(order(b'{"m": 1}', message_id="m"))
    source = {
        "orders": {
            "type": "amqp",
            "url": "amqp://h/",
            "queue": "q",
            "deduplicate": {"key": "$meta.message_id", "within": "36500d"},
        }
    }
    desk.write_config(
        [{**ROUTE, "when": "default(payload.n, 0) != 1", "args": ["$payload.n + 1"]}],
        dramatiq={"url": desk.server.url, "username": "clerk", "password": "p"},
        sources=source,
    )
    with user(desk, RETRY_ACL):
        outcomes = [(await desk.retry_as_clerk(letter)).outcome for letter in letters]
        assert outcomes == ["retried", "refused", "retried", "failed"]
        store = LetterStore(desk.config.dramatiq)
        assert await store.purge([letters[1].id]) == 1
        await store.close()


@pytest.mark.parametrize("denied", [name for name in NEEDED if name not in {"xlen", "xrevrange", "evalsha"}])
async def test_a_permission_that_is_missing(desk: Desk, denied: str) -> None:
    """Whichever it is: the answer names it, and nothing has happened half-way."""
    source = {
        "orders": {
            "type": "amqp",
            "url": "amqp://h/",
            "queue": "q",
            "deduplicate": {"key": "$meta.message_id", "within": "36500d"},
        }
    }
    target = {"url": desk.server.url, "username": "clerk", "password": "p"}
    (letter,) = await desk.receive(order(b"{", message_id="m"))
    routes = [ROUTE, {**ROUTE, "name": "b", "args": [1]}]
    desk.write_config(routes, dramatiq=target, sources={"orders": {**source["orders"], "decode": "text"}})
    with user(desk, RETRY_ACL.replace(f" +{denied}", "", 1)):
        with pytest.raises(SinkUnavailable, match="NOPERM") as caught:
            await desk.retry_as_clerk(letter)
        assert denied in str(caught.value).lower()
    assert await desk.letters() == [letter]
    assert written(desk) == []
    assert desk.books()["count"] == 1
    with desk.server.client() as client:
        assert client.keys("dramatiq-bridge:seen:*") == []


async def test_a_retry_goes_only_up_to_the_last_letter_at_its_start(desk: Desk) -> None:
    """Those that fail make new ones behind it, which are not tried again in the same run; the causes are counted."""
    await fill(desk, 120)
    desk.write_config([{**ROUTE, "args": ["$payload.n + payload.none"]}])
    process = retrying(desk)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out.splitlines() == [
        "0 retried, 120 failed; 0 messages written",
        "    120 failed: missing-field: args.0: no field 'none' in `payload.none`",
    ]
    assert {letter.retries for letter in await desk.letters()} == {1}


async def test_filters_choose_letters(desk: Desk) -> None:
    """A retry of some leaves the others."""
    await fill(desk, 30)
    process = retrying(desk, "--text", '"n": 2', "--route", "note", "--reason", "missing-field", "--newer", "1h")
    out, _ = process.communicate(timeout=60)
    assert out == "11 retried; 11 messages written\n"
    assert written(desk) == [2, *range(20, 30)]
    process = retrying(desk, "--older", "1h")
    assert process.communicate(timeout=60)[0] == "no dead letters\n"


async def test_letters_that_fail_again_push_none_out(desk: Desk) -> None:
    """Also where the bounds have become smaller: each keeps its place. The bridge's next letter trims, as always."""
    await fill(desk, 200)
    routes = [{**ROUTE, "args": ["$payload.none"]}]
    desk.write_config(routes, dead_letters={"max_length": 100})
    process = retrying(desk)
    out, _ = process.communicate(timeout=60)
    assert out.startswith("0 retried, 200 failed; 0 messages written\n    200 failed")
    assert length(desk) == desk.books()["count"] == 200
    assert [int(letter.body[6:-1]) for letter in await desk.letters()] == list(range(200))
    await desk.receive(order(b"{"))
    assert 95 < length(desk) == desk.books()["count"] <= 100


async def test_letters_that_make_room_are_said(desk: Desk) -> None:
    """Those of several routes for one: where there is no room for them, the oldest go, and the summary has their number."""
    await fill(desk, 100, 101)
    (*_, letter) = await desk.receive(order(b"{"))
    routes = [{**ROUTE, "name": f"r{n}", "args": ["$payload.none"]} for n in range(4)]
    source = {"orders": {**ORDERS, "decode": "text"}}
    desk.write_config(routes, dead_letters={"max_length": 101}, sources=source)
    process = retrying(desk, "--reason", "decode")
    out, _ = process.communicate(timeout=60)
    assert out.splitlines()[:2] == [
        "0 retried, 1 failed; 0 messages written",
        "3 of the oldest letters have made room for those that failed again",
    ]
    letters = await desk.letters()
    assert [one.route for one in letters][-5:] == ["note", "r0", "r1", "r2", "r3"]
    assert letter.id not in {one.id for one in letters}
    assert length(desk) == desk.books()["count"] == 101
