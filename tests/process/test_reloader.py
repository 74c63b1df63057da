"""Reloads one at a time: which calls share one, what a failure leaves, and what the service manager is told."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from bridge.config import Config
from bridge.model.control import Reloaded
from bridge.observe import logs
from bridge.observe.masking import without_secrets
from bridge.process import systemd
from bridge.process.changes import Changes
from bridge.process.lifecycle import Lifecycle
from bridge.process.loader import Loader, Prepared
from bridge.process.reload import Reloader, Stopping
from tests.support.memory import until

FILE = "sources: {s: {type: redis-stream, url: 'redis://u:%s@localhost', streams: [s], group: g}}\n"


class _Swaps:
    """Takes the place of a bridge: notes the configurations that it would run, once `go` is set."""

    def __init__(self) -> None:
        self.configs: list[Config] = []
        self.begun = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def swap(self, prepared: Prepared, _: Changes) -> None:
        self.begun += 1
        await self.go.wait()
        if self.error is not None:
            raise self.error
        self.configs.append(prepared.config)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a bridge."""
    path = tmp_path / "bridge.yaml"
    _write(path, FILE % "first-secret")
    return path


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _reloader(path: Path, swaps: _Swaps, answers: list[Reloaded] | None = None) -> Reloader:
    loader = Loader(str(path))
    prepared = loader.load()
    lifecycle = Lifecycle(prepared.config)
    return Reloader(loader.load, prepared, swaps.swap, lifecycle, (answers if answers is not None else []).append)


async def test_calls_during_a_reload_share_the_next_one(path: Path) -> None:
    """A change that is written during a reload is loaded after it, once for all who asked."""
    swaps = _Swaps()
    answers: list[Reloaded] = []
    reloader = _reloader(path, swaps, answers)
    first = asyncio.create_task(reloader.reload())
    await until(lambda: swaps.begun == 1)
    _write(path, (FILE % "first-secret").replace("[s]", "[t]"))
    others = [asyncio.create_task(reloader.reload()) for _ in range(20)]
    await asyncio.sleep(0.05)
    assert swaps.begun == 1
    swaps.go.set()
    assert (await first).changes == []
    assert [(await other).changes for other in others] == [["source s changed: streams"]] * 20
    assert len(swaps.configs) == len(answers) == 2
    assert reloader.config.sources["s"].streams == ["t"]  # type: ignore[union-attr]


async def test_a_stop_ends_the_reload_that_has_begun_and_those_that_wait(path: Path) -> None:
    """All who asked get an answer, and nothing is swapped any more."""
    swaps = _Swaps()
    reloader = _reloader(path, swaps)
    waiting = [asyncio.create_task(reloader.reload())]
    await until(lambda: swaps.begun == 1)
    waiting.append(asyncio.create_task(reloader.reload()))
    await asyncio.sleep(0.05)
    reloader.stop()
    swaps.go.set()
    for answer in [*[await each for each in waiting], await reloader.reload()]:
        assert answer == Reloaded("failed", cause="the bridge stops")
    assert swaps.configs == []


@pytest.mark.parametrize("error", [RuntimeError("a bug"), Stopping()])
async def test_a_swap_that_fails_leaves_the_configuration(path: Path, error: Exception) -> None:
    """The answer is the cause, and the next reload compares with the configuration that runs."""
    swaps = _Swaps()
    swaps.go.set()
    swaps.error = error
    reloader = _reloader(path, swaps)
    _write(path, (FILE % "first-secret").replace("[s]", "[t]"))
    assert (await reloader.reload()).result == "failed"
    assert reloader.config.sources["s"].streams == ["s"]  # type: ignore[union-attr]
    swaps.error = None
    assert await reloader.reload() == Reloaded("ok", ["source s changed: streams"])


async def test_a_fault_of_loading_ends_nothing(path: Path) -> None:
    """Whatever it is: the bridge goes on with its configuration."""
    swaps = _Swaps()

    def load() -> Prepared:
        raise MemoryError("no room")

    prepared = Loader(str(path)).load()
    reloader = Reloader(load, prepared, swaps.swap, Lifecycle(prepared.config))
    assert await reloader.reload() == Reloaded("failed", cause="no room")


async def test_new_secrets_are_masked_before_anything_uses_them(path: Path) -> None:
    """And the old ones as long as connections that end may quote them."""
    masked: list[str] = []

    async def swap(*_: object) -> None:
        masked.append(without_secrets("first-secret second-secret"))

    loader = Loader(str(path))
    prepared = loader.load()
    logs.set_secrets(prepared.config.secrets())
    reloader = Reloader(loader.load, prepared, swap, Lifecycle(prepared.config))
    _write(path, FILE % "second-secret")
    try:
        assert (await reloader.reload()).changes == ["source s changed: url"]
        assert masked == ["*** ***"]
        assert without_secrets("first-secret second-secret") == "*** ***"
    finally:
        logs.set_secrets(())


async def test_many_mistakes_are_bounded_lines(path: Path) -> None:
    """The first five, each on a line with its place, and how many more there are; in the log, on one line."""
    reloader = _reloader(path, _Swaps())
    routes = "".join(f"  - {{from: s, actor: a{n}, args: [$payload..x]}}\n" for n in range(50))
    _write(path, FILE % "first-secret" + "routes:\n" + routes)
    with structlog.testing.capture_logs() as lines:
        answer = await reloader.reload()
    assert answer.result == "invalid"
    assert answer.cause.count(f"{path}:") == 5
    assert answer.cause.endswith("\nand 45 more")
    (line,) = [line for line in lines if line["event"] == "bridge.reload_failed"]
    assert line["cause"].endswith(" | and 45 more; nothing has changed")
    assert "\n" not in line["cause"]
    assert "secret" not in line["cause"]


async def test_loading_does_not_hold_up_the_loop(path: Path) -> None:
    """A file of thousands of routes takes seconds, and events flow meanwhile."""
    loader = Loader(str(path))
    prepared = loader.load()
    begun, go = threading.Event(), threading.Event()

    def load() -> Prepared:
        begun.set()
        assert go.wait(60)
        return replace(prepared)

    swaps = _Swaps()
    swaps.go.set()
    reloading = asyncio.create_task(Reloader(load, prepared, swaps.swap, Lifecycle(prepared.config)).reload())
    await until(begun.is_set)
    go.set()  # by the loop, which runs
    assert (await reloading).result == "ok"


async def test_the_service_manager_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`systemctl reload` of a unit with Type=notify-reload waits for READY=1; not before the bridge is ready itself."""
    said: list[str] = []
    monkeypatch.setattr(systemd, "notify", said.append)
    loader = Loader(str(path))
    prepared = loader.load()
    lifecycle = Lifecycle(prepared.config)
    swaps: Any = _Swaps()
    swaps.go.set()
    reloader = Reloader(loader.load, prepared, swaps.swap, lifecycle)
    await reloader.reload()
    assert said == []
    lifecycle.ready()
    said.clear()
    await reloader.reload()
    assert [text.partition("\n")[0] for text in said] == ["RELOADING=1", "READY=1"]
    assert said[0].partition("MONOTONIC_USEC=")[2].isdigit()
