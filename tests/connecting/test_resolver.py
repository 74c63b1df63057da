"""Looking names up: one thread a name, a bound on the threads, and a resolver that never answers holds up nobody."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.connecting.resolver import Resolver
from tests.connecting.conftest import Run
from tests.support.children import REPOSITORY, wait_until


class System:
    """The system's resolver, of which a test holds the answers back; `asked` are the names that it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = threading.Event()
        self.works = True

    def look_up(self, host: str, port: int, **options: Any) -> Any:
        """Stand in for `socket.getaddrinfo`."""
        if options.get("flags"):
            return _system(host, port, **options)
        self.asked.append(host)
        self.answers.wait(30)
        if not self.works:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.9", 0))]


_system: Any = socket.getaddrinfo


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    """A resolver that answers nothing until it is told to."""
    made = System()
    monkeypatch.setattr(socket, "getaddrinfo", made.look_up)
    yield made
    made.answers.set()


def _threads() -> int:
    return sum(thread.name == "resolver" for thread in threading.enumerate())


def test_500_sources_with_one_name_need_one_thread(run: Run, system: System) -> None:
    """And each gets the addresses, with its own port."""

    async def look_up() -> list[Any]:
        resolver = Resolver()
        waiting = [asyncio.create_task(resolver.resolve("one.test", port)) for port in range(500)]
        await asyncio.sleep(0.1)
        assert (system.asked, _threads()) == (["one.test"], 1)
        for task in waiting[::2]:
            task.cancel()  # takes nothing from the others
        await asyncio.sleep(0)
        system.answers.set()
        return await asyncio.gather(*waiting[1::2])

    assert run(look_up()) == [[(socket.AF_INET, ("127.0.0.9", port))] for port in range(1, 500, 2)]


def test_the_threads_have_a_bound(run: Run, system: System) -> None:
    """Names beyond it are looked up once a thread is free; an IP address needs none."""

    async def look_up() -> None:
        resolver = Resolver(max_threads=3)
        names = [f"{n}.test" for n in range(10)]
        waiting = [asyncio.create_task(resolver.resolve(name, 1)) for name in names]
        await asyncio.sleep(0.1)
        assert (sorted(system.asked), _threads()) == (names[:3], 3)
        assert await resolver.resolve("127.0.0.1", 80) == [(socket.AF_INET, ("127.0.0.1", 80))]
        assert await resolver.resolve("::1", 80) == [(socket.AF_INET6, ("::1", 80, 0, 0))]
        system.answers.set()
        await asyncio.gather(*waiting)
        assert sorted(system.asked) == names

    run(look_up())


def test_an_answer_that_is_too_late_is_kept_for_the_next_attempt(run: Run, system: System) -> None:
    """A resolver may need longer than an attempt lasts: its source connects all the same."""

    async def look_up() -> None:
        resolver = Resolver()
        await _answered_too_late(resolver, system)
        assert await resolver.resolve("slow.test", 1) == [(socket.AF_INET, ("127.0.0.9", 1))]
        assert system.asked == ["slow.test"]
        await resolver.resolve("slow.test", 1)
        assert system.asked == ["slow.test"] * 2

    run(look_up())


async def _answered_too_late(resolver: Resolver, system: System) -> None:
    """Look up a name whose answer comes when nobody waits for it any more."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await resolver.resolve("slow.test", 1)
    system.answers.set()
    await asyncio.to_thread(wait_until, lambda: not _threads(), what="the late answer")


def test_a_failure_that_is_too_late_is_not_kept(run: Run, system: System) -> None:
    """A resolver that works again is asked again, in the next attempt."""

    async def look_up() -> None:
        resolver = Resolver()
        system.works = False
        await _answered_too_late(resolver, system)
        system.works = True
        assert await resolver.resolve("slow.test", 1) == [(socket.AF_INET, ("127.0.0.9", 1))]
        assert system.asked == ["slow.test"] * 2

    run(look_up())


def test_an_answer_that_is_too_late_is_not_kept_for_ever(
    run: Run, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name may have moved when it is needed again, an hour later."""
    monkeypatch.setattr("bridge.connecting.resolver.KEPT_S", 0.1, raising=False)

    async def look_up() -> None:
        resolver = Resolver()
        await _answered_too_late(resolver, system)
        await asyncio.sleep(0.2)
        assert await resolver.resolve("slow.test", 1) == [(socket.AF_INET, ("127.0.0.9", 1))]
        assert system.asked == ["slow.test"] * 2

    run(look_up())


@pytest.mark.parametrize("name", ["no-such-name.invalid", "a..b", "x" * 64 + ".test"])
def test_a_name_without_an_address_is_named(run: Run, name: str) -> None:
    """Also one that is no host name."""
    with pytest.raises(OSError, match=rf"^the name '{name}' was not resolved: \S"):
        run(Resolver().resolve(name, 1))


def test_a_system_without_threads_is_a_cause(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a limit of the system allows no thread, the attempt fails, and the next one asks again."""

    def refuse(_thread: object) -> None:
        raise RuntimeError("can't start new thread")

    resolver = Resolver()
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match=r"^the name 'localhost' was not resolved: can't start new thread$"):
            run(resolver.resolve("localhost", 1))
    assert run(resolver.resolve("localhost", 1))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_resolver_that_never_answers_does_not_keep_the_process(loop: str, tmp_path: Path) -> None:
    """A process ends beside its look-ups, as many as there are."""
    program = f"""
import asyncio, socket, threading, {loop}
from bridge.connecting.resolver import Resolver
socket.getaddrinfo = lambda *_, **options: threading.Event().wait()
async def main():
    resolver = Resolver()
    tasks = [asyncio.create_task(resolver._look_up(f"{{n}}.test")) for n in range(100)]
    await asyncio.sleep(0.2)
with asyncio.Runner(loop_factory={loop}.new_event_loop) as runner:
    runner.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, stderr=subprocess.PIPE, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
