"""`check --connect` at RabbitMQ: queue, type, settings and permissions, without a consumer and without a delivery."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from tests.preflight.conftest import Looked
from tests.support.brokers import RabbitMQ, Redis
from tests.support.children import free_port

Unique = Callable[[str], str]


@pytest.fixture(scope="module")
def user(_shared_rabbitmq: RabbitMQ) -> Iterator[str]:
    """The URL of a user who may read what begins with `read`, and declare what begins with `conf`."""
    _shared_rabbitmq.ctl("add_user", "reader", "s3cret")
    _shared_rabbitmq.ctl("set_permissions", "reader", "^conf", "^$", "^(read|conf)")
    yield f"amqp://reader:s3cret@127.0.0.1:{_shared_rabbitmq.port}"
    _shared_rabbitmq.ctl("delete_user", "reader")


def at_broker(rabbitmq: RabbitMQ, act: Callable[[AbstractChannel], Awaitable[Any]]) -> Any:
    """Return what `act` returns, given a channel of the administrator."""

    async def run() -> Any:
        async with await aio_pika.connect(rabbitmq.url) as connection:
            return await act(await connection.channel())

    return asyncio.run(run())


def declare(rabbitmq: RabbitMQ, queue: str, messages: int = 0, arguments: Any = None) -> None:
    """Declare a queue, with messages in it."""

    async def act(channel: AbstractChannel) -> None:
        await channel.declare_queue(queue, durable=True, arguments=arguments)
        for number in range(messages):
            await channel.default_exchange.publish(aio_pika.Message(b"%d" % number), queue)

    at_broker(rabbitmq, act)


def amqp(url: str, queue: str, **more: Any) -> dict[str, Any]:
    """Return a source."""
    return {"type": "amqp", "url": url, "queue": queue, **more}


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_queue_that_can_be_read_is_left_as_it_is(
    kind: str, rabbitmq: RabbitMQ, user: str, unique: Unique, look: Looked
) -> None:
    """No delivery was made: none is redelivered afterwards, and no consumer is left."""
    queue = unique("read")
    declare(rabbitmq, queue, 3, arguments={"x-queue-type": kind})

    async def take(channel: AbstractChannel) -> list[Any]:
        found = await channel.declare_queue(queue, passive=True)
        taken = [await found.get() for _ in range(3)]
        return [found.declaration_result.consumer_count, *((one.body, one.redelivered) for one in taken)]

    found = look(source=amqp(user, queue))
    assert found[0].startswith("ok: connected: RabbitMQ ")
    assert found[1] in (f"ok: queue {queue}: {count} messages waiting, 0 consumers reading" for count in (0, 3))
    assert found[2:4] == ["ok: the user may read it", f"ok: it is a {kind} queue"]
    assert found[-1].startswith("unseen: the policies of the queue")
    assert at_broker(rabbitmq, take) == [0, (b"0", False), (b"1", False), (b"2", False)]


def test_a_user_who_may_not_read(rabbitmq: RabbitMQ, user: str, unique: Unique, look: Looked) -> None:
    """The remedy names the permission, the user and the virtual host."""
    queue = unique("secret")
    declare(rabbitmq, queue)
    (problem,) = [one for one in look(source=amqp(user, queue), code=1) if one.startswith("problem")]
    assert problem.startswith(f"problem: the user reader may not read queue '{queue}': ACCESS_REFUSED")
    assert "; this command replaces all three patterns of the user there (configure, write, read)" in problem
    assert problem.endswith(f": rabbitmqctl set_permissions -p / reader '' '' '^{queue}$'")
    assert "s3cret" not in problem


def test_a_queue_that_is_not_there(user: str, unique: Unique, look: Looked) -> None:
    """Without `declare` nobody makes it; with it, the rights to do so can't be seen."""
    queue = unique("read")
    assert look(source=amqp(user, queue), code=1)[1] == (
        f"problem: queue '{queue}' does not exist: declare it at the broker, or add `declare:` to the source"
    )
    exchange = unique("conf")
    found = look(source=amqp(user, queue, declare={"exchange": exchange, "bindings": ["a.#"]}))
    assert f"ok: queue {queue} is not there yet: `run` declares it" in found
    assert "ok: the user may read it" in found
    assert f"ok: exchange {exchange} is not there yet: `run` declares it" in found
    (unseen,) = [one for one in found if one.startswith("unseen: whether")]
    assert unseen == (
        f"unseen: whether the user may declare queue {queue}, and whether the user may declare exchange {exchange}, and whether"
        " the user may bind them (configure, write on the queue, read on the exchange): a broker tells it only where it is done"
    )


def test_a_queue_with_other_settings_than_declared(rabbitmq: RabbitMQ, user: str, unique: Unique, look: Looked) -> None:
    """RabbitMQ names the argument; with equal ones nothing changes."""
    queue, exchange = unique("conf"), unique("conf")
    declare(rabbitmq, queue, arguments={"x-max-length": 9})

    async def make(channel: AbstractChannel) -> None:
        await channel.declare_exchange(exchange, "fanout", durable=True)

    at_broker(rabbitmq, make)
    own = {"exchange": exchange, "type": "topic"}
    problems = [one for one in look(source=amqp(user, queue, declare=own), code=1) if one.startswith("problem")]
    assert problems[0].startswith(f"problem: queue '{queue}' exists with other settings: PRECONDITION_FAILED")
    assert "x-max-length" in problems[0]
    assert problems[1].startswith(f"problem: exchange '{exchange}' exists with other settings: PRECONDITION_FAILED")
    found = look(
        source=amqp(user, queue, declare={"exchange": exchange, "type": "fanout", "arguments": {"x-max-length": 9}})
    )
    assert "ok: it has the settings of `declare`, and the user may declare it" in found
    assert f"ok: exchange {exchange} has the settings of `declare`" in found


def test_a_user_who_may_not_declare(rabbitmq: RabbitMQ, user: str, unique: Unique, look: Looked) -> None:
    """It is seen where the queue is there already."""
    queue = unique("read")
    declare(rabbitmq, queue)
    (problem,) = [one for one in look(source=amqp(user, queue, declare={}), code=1) if one.startswith("problem")]
    assert problem.startswith(f"problem: the user reader may not declare queue '{queue}': ACCESS_REFUSED")
    assert problem.endswith(f": rabbitmqctl set_permissions -p / reader '^{queue}$' '' '^{queue}$'")


def test_a_stream_and_a_queue_that_is_none(rabbitmq: RabbitMQ, user: str, unique: Unique, look: Looked) -> None:
    """`stream: true` has to be true, and to be there."""
    stream, queue = unique("read"), unique("read")
    declare(rabbitmq, stream, arguments={"x-queue-type": "stream"})
    declare(rabbitmq, queue)
    assert "ok: it is a stream" in look(source=amqp(user, stream, stream=True))
    (note,) = [one for one in look(source=amqp(user, stream)) if one.startswith("note")]
    assert note.startswith(f"note: queue '{stream}' is a stream: at most once in each process")
    assert note.endswith("; set `stream: true` in the source: then each event is written exactly once")
    (problem,) = [one for one in look(source=amqp(user, queue, stream=True), code=1) if one.startswith("problem")]
    assert problem == f"problem: queue '{queue}' is no stream: remove `stream: true` from the source"


def test_a_queue_of_another_connection_alone(rabbitmq: RabbitMQ, user: str, unique: Unique, look: Looked) -> None:
    """One that is exclusive; and a queue with a consumer goes on to give it every event."""
    exclusive, taken = unique("read"), unique("read")
    declare(rabbitmq, taken)
    said: list[list[str]] = []

    async def act(channel: AbstractChannel) -> int:
        await channel.declare_queue(exclusive, exclusive=True)
        queue = await channel.declare_queue(taken, passive=True)
        got: asyncio.Queue[Any] = asyncio.Queue()
        await queue.consume(got.put, exclusive=True, no_ack=True)
        said.append(await asyncio.to_thread(look, source=amqp(user, exclusive), code=1))
        said.append(await asyncio.to_thread(look, source=amqp(user, taken)))
        await channel.default_exchange.publish(aio_pika.Message(b"x"), taken)
        return len((await asyncio.wait_for(got.get(), 10)).body)

    assert at_broker(rabbitmq, act) == 1
    assert said[0][1].startswith(f"problem: queue '{exclusive}': RESOURCE_LOCKED")
    assert said[1][1] == f"ok: queue {taken}: 0 messages waiting, 1 consumer reading"


def test_a_broker_that_refuses_the_login(rabbitmq: RabbitMQ, user: str, look: Looked) -> None:
    """In the words of `run`: a wrong password, a virtual host that there is not, a port of nobody."""
    (problem,) = look(source=amqp(user.replace("s3cret", "s3cre7"), "q"), code=1)
    assert problem.startswith("problem: ACCESS_REFUSED")
    assert "; check `username` and `password` (rabbitmqctl authenticate_user reader);" in problem
    (problem,) = look(source=amqp(f"{user}/nowhere", "q"), code=1)
    assert problem.endswith("vhost nowhere not found; rabbitmqctl add_vhost nowhere, or write another one into the URL")
    (problem,) = look(source=amqp(f"amqp://127.0.0.1:{free_port()}", "q"), code=1)
    assert problem.endswith("Connection refused")


def test_the_command_of_a_remedy_gives_all_that_the_source_needs(
    rabbitmq: RabbitMQ, user: str, unique: Unique, look: Looked
) -> None:
    """It is run as it is: in a virtual host in which the user had no rights, with a queue and an exchange of odd names."""
    queue, host = unique("a.b 'c'"), unique("host 2")
    rabbitmq.ctl("add_vhost", host)
    source = amqp(f"{user}/{host.replace(' ', '%20')}", queue, declare={"exchange": unique("e(x)"), "bindings": ["a"]})
    (problem,) = look(source=source, code=1)
    assert problem.startswith("problem: NOT_ALLOWED - access to vhost")
    words = shlex.split(problem[problem.index(": rabbitmqctl ") + 2 :])
    assert words[:4] == ["rabbitmqctl", "set_permissions", "-p", host]
    rabbitmq.ctl(*words[1:])
    assert look(source=source)
    rabbitmq.ctl("delete_vhost", host)


def test_a_port_of_another_protocol(redis_server: Redis, look: Looked) -> None:
    """A Redis waits for the end of what it takes for a command."""
    url = f"amqp://127.0.0.1:{redis_server.port}"
    assert look(source=amqp(url, "q", connect_timeout="500ms"), code=1) == [
        "problem: timed out; nothing answers there in this protocol: check host, port and firewall"
    ]
