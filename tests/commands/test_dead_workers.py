"""`dead --workers`: messages that real workers have given up are shown, retried, and then processed; purged, exported."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable

import pytest

from bridge.config import Dramatiq
from bridge.dead_letters import workers
from bridge.dead_letters.workers import WorkerStore
from bridge.model.message import MessageIds, Template
from tests.commands.test_dead import Dead
from tests.support.batches import answer
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.dead_commands import started
from tests.support.letters import Desk
from tests.support.processes import Worker, assert_no_orphans, queue_messages

NewWorker = Callable[..., Worker]


@pytest.fixture
def dead(desk: Desk, capsys: pytest.CaptureFixture[str]) -> Dead:
    """Return a function that runs `dead`."""
    return Dead(desk, capsys)


@pytest.fixture
async def store(redis_server: Redis) -> AsyncIterator[WorkerStore]:
    """Read the workers' letters in the shared Redis."""
    made = WorkerStore(Dramatiq(url=redis_server.url))
    yield made
    await made.close()


def send(server: Redis, actor: str, *args: object, **options: object) -> str:
    """Send a message; return its message_id."""
    template = Template(actor, "default", options)
    redis_id, body = template.fill(list(args), {}, MessageIds(1_000))
    with server.client() as client:
        client.hset("dramatiq:default.msgs", redis_id.decode(), body)
        client.rpush("dramatiq:default", redis_id)
    return str(json.loads(body)["message_id"])


def dead_count(server: Redis, queue: str = "default") -> int:
    """Return the number of a queue's letters; its set and its hash agree."""
    with server.client() as client, client.pipeline(transaction=True) as both:
        in_set, in_hash = both.zcard(f"dramatiq:{queue}.XQ").hlen(f"dramatiq:{queue}.XQ.msgs").execute()
    assert in_set == in_hash
    return int(in_set)


def bury(server: Redis, count: int, queue: str = "default", **options: object) -> list[str]:
    """Put messages for the actor `record` where a worker puts those that it gives up; return their ids."""
    ids = []
    # A worker deletes those of more than seven days.
    two_hours_ago_ms = time.time_ns() // 1_000_000 - 7_200_000
    with server.client() as client:
        for n in range(count):
            template = Template("record", queue, {"retries": 3, "traceback": f"x\nError: {n}", **options})
            redis_id, body = template.fill([n], {"k": "ü"}, MessageIds(1_000))
            client.zadd(f"dramatiq:{queue}.XQ", {redis_id: two_hours_ago_ms + n})
            client.hset(f"dramatiq:{queue}.XQ.msgs", redis_id.decode(), body)
            ids.append(redis_id.decode())
    return ids


async def test_letters_of_real_workers(desk: Desk, dead: Dead, new_worker: NewWorker) -> None:
    """One whose actor fails, and one whose actor no worker knows: shown with their tracebacks, retried, and run again with all attempts."""
    failed = send(desk.server, "fail", 1, max_retries=1, min_backoff=1, max_backoff=1)
    unknown = send(desk.server, "nobody", 2)
    worker = new_worker(desk.server.url)
    await asyncio.to_thread(wait_until, lambda: dead_count(desk.server) == 2, 60, "two dead messages")
    out = await dead("list", "--workers")
    assert "queue default  fail" in out
    assert "    RuntimeError: this actor always fails" in out
    assert "queue default  nobody" in out
    shown = await dead("show", failed, "--workers")
    assert f"message_id  {failed}" in shown
    assert "\ntraceback\n" in shown
    assert "args        [1]" in shown
    assert await dead("retry", failed, "--workers") == "1 retried; 1 message written\n"
    await asyncio.to_thread(worker.wait_for, 4)
    await asyncio.to_thread(wait_until, lambda: dead_count(desk.server) == 2, 60, "the failed one again")
    assert [(one["actor"], one["message_id"]) for one in worker.executions()] == [("fail", failed)] * 4
    assert unknown in await dead("show", unknown, "--workers")


async def test_retried_messages_are_processed(desk: Desk, dead: Dead, new_worker: NewWorker) -> None:
    """A thousand, of a queue and of its delayed ones: each exactly once, with its message_id, by a worker that never stops."""
    ids = bury(desk.server, 1_000)
    worker = new_worker(desk.server.url)
    out = await dead("retry", "--all", "--workers")
    assert out == "1,000 retried; 1,000 messages written\n"
    calls = await asyncio.to_thread(worker.wait_for, 1_000, 120)
    assert sorted(call["args"][0] for call in calls) == list(range(1_000))
    assert len({call["message_id"] for call in calls}) == 1_000
    assert dead_count(desk.server) == 0
    assert len(ids) == 1_000


async def test_sigkill_in_the_middle(desk: Desk) -> None:
    """Each message goes back exactly once, however often the command is killed; none is in two places."""
    bury(desk.server, 6_000)
    for left in (5_000, 2_500, -1):
        process = started(desk, "retry", "--workers")
        if left > 0:
            await asyncio.to_thread(wait_until, lambda left=left: dead_count(desk.server) < left, 60, f"{left} letters")  # type: ignore[misc]
            process.kill()
        process.communicate(timeout=120)
        with desk.server.client() as client:
            back = [message["args"][0] for message in queue_messages(client, "default")]
        assert len(back) + dead_count(desk.server) == 6_000
    assert back == list(range(6_000))


async def test_a_retry_gives_all_attempts_again(desk: Desk, dead: Dead) -> None:
    """The options that a worker has added go, and so does the delay; others, the arguments and the message_id stay."""
    bury(desk.server, 1, max_retries=5, eta=99, requeue_timestamp=7, max_age=60_000)
    with desk.server.client() as client:
        (before,) = (json.loads(body) for body in answer(client.hvals("dramatiq:default.XQ.msgs")))
        assert await dead("retry", "--all", "--workers") == "1 retried; 1 message written\n"
        (after,) = queue_messages(client, "default")
    options = after.pop("options")
    assert options.pop("redis_message_id") != before["options"]["redis_message_id"]
    assert options == {"max_retries": 5, "max_age": 60_000}
    assert after.pop("message_timestamp") > 1_764_223_200_000
    assert after == {name: before[name] for name in ("queue_name", "actor_name", "args", "kwargs", "message_id")}


async def test_as_is_puts_it_back_unchanged(desk: Desk, dead: Dead) -> None:
    """Byte for byte, under its own id; one that was delayed goes to its delayed queue."""
    (plain,) = bury(desk.server, 1)
    with desk.server.client() as client:
        body = answer(client.hget("dramatiq:default.XQ.msgs", plain))
        delayed = body.replace(b'"queue_name":"default"', b'"queue_name":"default.DQ"').replace(plain.encode(), b"d")
        client.hset("dramatiq:default.XQ.msgs", "d", delayed)
        client.zadd("dramatiq:default.XQ", {"d": 5})
        assert await dead("retry", "--all", "--workers", "--as-is") == "2 retried; 2 messages written\n"
        assert answer(client.hgetall("dramatiq:default.msgs")) == {plain.encode(): body}
        assert answer(client.hgetall("dramatiq:default.DQ.msgs")) == {b"d": delayed}
        assert_no_orphans(client)


async def test_two_retries_at_once(redis_server: Redis, store: WorkerStore) -> None:
    """Each message goes back once."""
    bury(redis_server, 300)
    letters = [letter async for page in store.pages() for letter in page]
    others = [WorkerStore(Dramatiq(url=redis_server.url)) for _ in range(3)]

    async def run(one: WorkerStore) -> list[str]:
        found: list[str] = [retried.outcome async for _, retried in one.retry_all(letters)]
        await one.close()
        return found

    outcomes = [outcome for each in await asyncio.gather(*map(run, others)) for outcome in each]
    assert (outcomes.count("retried"), outcomes.count("gone")) == (300, 600)
    with redis_server.client() as client:
        assert len(queue_messages(client, "default")) == 300


async def test_queues_are_found(desk: Desk, dead: Dead) -> None:
    """By SCAN, whatever their names; `--queue` takes one, and a namespace's characters are no pattern."""
    for queue in ("a", "b", "c.d"):
        bury(desk.server, 2, queue)
    with desk.server.client() as client:
        client.zadd("other:a.XQ", {"x": 1})
    lines = await dead.lines("list", "--workers", "--json")
    assert [line["queue"] for line in lines] == ["a", "a", "b", "b", "c.d", "c.d"]
    assert [line["queue"] for line in await dead.lines("export", "--workers", "--queue", "b")] == ["b", "b"]
    starred = WorkerStore(Dramatiq(url=desk.server.url, namespace="dram*"))
    assert await starred.queues() == []
    await starred.close()


async def test_letters_beyond_the_bound_are_said(desk: Desk, dead: Dead, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many ids of a queue are read in one run; the next one reads the others."""
    monkeypatch.setattr(workers, "MAX_IDS", 40)
    monkeypatch.setattr(workers, "_ID_PAGE", 20)
    bury(desk.server, 50)
    assert await dead("retry", "--all", "--workers") == "40 retried; 40 messages written\n"
    assert "dead messages of the queue default were read: run the command again for the others" in dead.err
    assert await dead("retry", "--all", "--workers") == "10 retried; 10 messages written\n"
    assert "note:" not in dead.err


async def test_purge_and_filters(desk: Desk, dead: Dead) -> None:
    """By id, by text, by age."""
    ids = bury(desk.server, 20)
    assert await dead("purge", ids[3], "--workers", "--yes") == "1 deleted\n"
    assert await dead("purge", "--workers", "--text", '"args":[1', "--yes") == "11 deleted\n"
    assert await dead("purge", "--workers", "--newer", "1h", "--yes") == "0 deleted\n"
    assert await dead("purge", "--workers", "--older", "1h", "--yes") == "8 deleted\n"
    assert dead_count(desk.server) == 0


@pytest.mark.parametrize(
    "body",
    [
        *(b"\x80\x04pickle\xff", b"{}", b"[1]", b'{"options": [], "actor_name": "x"}', b"[" * 5000),
        b'{"options": {"n": 1}, "actor_name": "x", "queue_name": ["default"]}',
        b'{"options": {"n": 1}, "actor_name": "x", "args": [], "kwargs": []}',
    ],
)
async def test_a_body_that_is_no_message_stays(desk: Desk, dead: Dead, body: bytes) -> None:
    """Shown as it is, and refused in words; an export has it."""
    with desk.server.client() as client:
        client.zadd("dramatiq:default.XQ", {"odd": 5})
        client.hset("dramatiq:default.XQ.msgs", "odd", body)
    await dead("list", "--workers")
    await dead("show", "odd", "--workers")
    for words in ((), ("--as-is",)):
        out = await dead("retry", "odd", "--workers", *words, code=1)
        assert "odd: refused: no-message: the body is no message" in out
    (line,) = await dead.lines("export", "--workers")
    assert line.get("body", "").encode() == body or "body_base64" in line
    assert dead_count(desk.server) == 1


@pytest.mark.parametrize("score", ["inf", "-inf", "1e300", "-1e300"])
async def test_a_time_that_is_none(desk: Desk, dead: Dead, score: str) -> None:
    """Any client may write a score; the letter is shown and retried as others."""
    (letter_id,) = bury(desk.server, 1)
    with desk.server.client() as client:
        client.zadd("dramatiq:default.XQ", {letter_id: float(score)})
    assert letter_id in await dead("list", "--workers")
    assert letter_id in await dead("show", letter_id, "--workers")
    assert "1 retried" in await dead("retry", "--all", "--workers")


async def test_letters_of_a_longer_namespace_are_left_alone(desk: Desk, dead: Dead) -> None:
    """Those of another application with the namespace `dramatiq:staging`: neither shown, nor retried, nor purged."""
    bury(desk.server, 1, "staging:default")
    assert "no dead letters" in await dead("list", "--workers")
    await dead("retry", "--all", "--workers")
    await dead("purge", "--all", "--yes", "--workers")
    assert dead_count(desk.server, "staging:default") == 1


async def test_a_queue_of_another_type(desk: Desk, dead: Dead) -> None:
    """The message stays, and the answer names the key; so with a user that may not write."""
    (letter_id,) = bury(desk.server, 1)
    with desk.server.client() as client:
        client.set("dramatiq:default", "x")
        out = await dead("retry", letter_id, "--workers", code=1)
        assert "WRONGTYPE dramatiq:default holds a string, not a list" in out
        client.delete("dramatiq:default")
        for command in ("rpush", "hset", "zrem", "hdel"):
            client.execute_command("ACL", "SETUSER", "default", f"-{command}")
            try:
                await dead("retry", letter_id, "--workers", code=1)
            finally:
                client.execute_command("ACL", "SETUSER", "default", f"+{command}")
            assert f"NOPERM the user may not run {command.upper()}" in dead.err
            assert answer(client.exists("dramatiq:default", "dramatiq:default.msgs")) == 0
        client.config_set("maxmemory", "1")
        try:
            await dead("retry", letter_id, "--workers", code=1)
        finally:
            client.config_set("maxmemory", "0")
        assert "used memory > 'maxmemory'" in dead.err
    assert dead_count(desk.server) == 1
    assert await dead("retry", letter_id, "--workers") == "1 retried; 1 message written\n"
