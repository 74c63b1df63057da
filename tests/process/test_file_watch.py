"""`--reload-on-change`, look by look: which contents are a change, and which are none."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from bridge import cli
from bridge.config import files
from bridge.errors import ConfigError
from bridge.process.changes import compare
from bridge.process.file_watch import LOOK_S, FileWatch
from bridge.process.loader import Loader
from tests.support.certificates import Certificates
from tests.support.children import REPOSITORY
from tests.support.config_map import ConfigMapVolume

FILE = "manifest: actors.json\nsources: {s: {type: redis-stream, url: redis://localhost, streams: [%s], group: g, password: '${file:%s}'}}\n"
MANIFEST = json.dumps({"manifest": 1, "dramatiq": "2", "modules": [], "actors": {}})


class _Files:
    """A configuration, its manifest and its secret, and the watch that has loaded them."""

    def __init__(self, directory: Path, look_s: float = LOOK_S) -> None:
        self.secret = directory / "secret"
        self.secret.write_text("first")
        self.manifest = directory / "actors.json"
        self.manifest.write_text(MANIFEST)
        self.config = directory / "bridge.yaml"
        self.write("one")
        self.watch = FileWatch(Loader(str(self.config)).load, look_s)
        self.watch.load()

    def write(self, stream: str) -> None:
        self.config.write_text(FILE % (stream, self.secret))

    async def looks(self, count: int = 3) -> list[list[str]]:
        """Return what each of so many looks says has changed."""
        return [await self.watch.look() for _ in range(count)]


def _swap_case(path: Path, *, in_place: bool) -> None:
    text, times = path.read_text(), path.stat()
    new = path if in_place else path.with_name("new")
    new.write_text(text.swapcase())
    os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))
    new.rename(path)


def _hold(monkeypatch: pytest.MonkeyPatch, before: Callable[[], object]) -> None:
    read = files._read_file

    def held(path: str | os.PathLike[str], *rest: float | None) -> bytes:
        before()
        return read(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(files, "_read_file", held)


@pytest.fixture
def of(tmp_path: Path) -> _Files:
    """Files that are loaded, and that no look has seen yet."""
    return _Files(tmp_path)


NOTHING: list[list[str]] = [[], [], []]


async def test_files_that_stay_are_no_change(of: _Files) -> None:
    """Nor is one that is touched, or written again with the same contents."""
    assert await of.looks() == NOTHING
    os.utime(of.config, (1, 1))
    of.secret.unlink()
    of.secret.write_text("first")
    assert await of.looks() == NOTHING


@pytest.mark.parametrize("name", ["config", "secret", "manifest"])
@pytest.mark.parametrize("in_place", [True, False])
async def test_other_contents_are_a_change_at_the_second_look(of: _Files, name: str, in_place: bool) -> None:
    """Of each file that the load has read, even with the size and the times of the old one; once it is loaded, of none."""
    path: Path = getattr(of, name)
    _swap_case(path, in_place=in_place)
    assert await of.looks(2) == [[], [str(path)]]
    if name == "secret":
        of.watch.load()
    else:
        with pytest.raises(ConfigError):
            of.watch.load()
    assert await of.looks() == NOTHING


async def test_a_file_in_two_halves_is_a_change_once_it_is_whole(of: _Files) -> None:
    """However many looks see it grow."""
    with of.config.open("w") as file:
        for part in ("sources: {s: {", "type: redis-stream, url: redis://localhost, ", "streams: [s], group: g}}\n"):
            file.write(part)
            file.flush()
            assert await of.watch.look() == []
    assert await of.watch.look() == [str(of.config)]


@pytest.mark.parametrize("values", [17, 2])
async def test_a_file_that_never_rests_hides_no_other(of: _Files, values: int) -> None:
    """It is said after half a minute; another one that rests is loaded then, and again where it changes again.

    It may have ever new contents, or those that were loaded at each second look.
    """
    with structlog.testing.capture_logs() as lines:
        for text in ("two", "three"):
            of.write(text)
            seen = []
            for number in range(17):
                of.secret.write_text(f"{number % values}")
                seen.append(await of.watch.look())
            assert [each for each in seen if each] == [[str(of.config)]]
            assert seen.index([str(of.config)]) >= 14
            of.watch.load()
    (line,) = [line for line in lines if line["event"] == "bridge.watch_blind"]
    assert line["cause"].startswith(f"{of.secret} has other contents at each look")


async def test_a_file_that_never_rests_is_said(of: _Files) -> None:
    """Also where nothing else changes: no change of it is loaded."""
    with structlog.testing.capture_logs() as lines:
        for number in range(40):
            of.secret.write_text(f"{number}")
            assert await of.watch.look() == []
    assert [line["event"] for line in lines] == ["bridge.watch_blind"]
    assert await of.watch.look() == [str(of.secret)]


async def test_a_missing_file_is_no_change(of: _Files) -> None:
    """Nor is a pipe, a folder, a link that leads nowhere, or one that is too large in its place; others are still looked at."""
    of.secret.unlink()
    assert await of.looks() == NOTHING
    of.secret.mkdir()
    assert await of.looks() == NOTHING
    of.secret.rmdir()
    makes: list[Callable[[Path], object]] = [
        os.mkfifo,
        lambda path: path.symlink_to("nowhere"),
        lambda path: path.write_text("x" * 70_000),
    ]
    for make in makes:
        make(of.secret)
        assert await of.looks() == NOTHING
        of.secret.unlink()
    of.secret.write_text("first")
    assert await of.looks() == NOTHING
    of.secret.unlink()
    of.write("two")
    assert await of.looks(2) == [[], [str(of.config)]]


async def test_a_file_that_a_load_could_not_read_is_a_change_once_it_is_there(of: _Files) -> None:
    """The reload that failed is repeated then, and not before."""
    of.secret.unlink()
    with pytest.raises(ConfigError):
        of.watch.load()
    assert await of.looks() == NOTHING
    of.secret.write_text("first")
    assert await of.looks(2) == [[], [str(of.secret)]]


async def test_a_change_during_a_load_is_seen(of: _Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """The contents that the load has read are compared with, not those at its end."""
    read = files._read_file

    def read_and_change(path: str | os.PathLike[str], *rest: float | None) -> bytes:
        body = read(path, *rest)  # type: ignore[arg-type]
        if Path(path) == of.config:
            of.write("two")
        return body

    with monkeypatch.context() as patched:
        patched.setattr(files, "_read_file", read_and_change)
        of.watch.load()
    assert await of.looks(2) == [[], [str(of.config)]]


async def test_a_load_between_two_looks_begins_anew(of: _Files) -> None:
    """SIGHUP has loaded the change that a look has seen."""
    of.write("two")
    assert await of.watch.look() == []
    of.watch.load()
    assert await of.looks() == NOTHING


async def test_a_load_during_a_look_begins_anew(of: _Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the look has found is loaded already."""
    of.write("two")
    assert await of.watch.look() == []
    loads = [of.watch.load]
    _hold(monkeypatch, lambda: loads and loads.pop()())
    assert await of.looks() == NOTHING


async def test_a_volume_of_kubernetes(tmp_path: Path) -> None:
    """All its files are exchanged by one link, which is followed anew at each look; a file that is gone is not needed any more."""
    secret = tmp_path / "map" / "secret"
    volume = ConfigMapVolume(
        tmp_path / "map", {"bridge.yaml": FILE % ("s", secret), "actors.json": MANIFEST, "secret": "1"}
    )
    watch = FileWatch(Loader(str(volume.path / "bridge.yaml")).load)
    watch.load()
    plain = "sources: {s: {type: redis-stream, url: redis://localhost, streams: [s], group: g}}\n"
    volume.update({"bridge.yaml": plain})
    assert [await watch.look() for _ in range(2)] == [[], [str(volume.path / "bridge.yaml")]]
    assert watch.load().config.manifest is None
    assert [await watch.look() for _ in range(3)] == NOTHING


async def test_a_new_client_certificate_is_no_other_configuration(tmp_path: Path, certificates: Certificates) -> None:
    """Connections take its files over by themselves; a load reads them for the key's password, and finds nothing changed."""
    key, cert = tmp_path / "client.key", tmp_path / "client.crt"
    key.write_bytes(certificates.key.read_bytes())
    cert.write_bytes(certificates.cert.read_bytes())
    path = tmp_path / "bridge.yaml"
    tls = f"tls: {{ca: {certificates.ca}, cert: {cert}, key: {key}}}"
    path.write_text(f"sources: {{s: {{type: redis-stream, url: rediss://localhost, streams: [s], group: g, {tls}}}}}\n")
    watch = FileWatch(Loader(str(path)).load)
    before = watch.load().config
    key.write_bytes(certificates.client_key.read_bytes())
    cert.write_bytes(certificates.client_cert.read_bytes())
    assert [await watch.look() for _ in range(2)] == [[], [str(cert), str(key)]]
    assert list(compare(before, watch.load().config).words) == []


async def test_a_file_that_stays_unreadable_is_said(of: _Files) -> None:
    """A change of it would not be seen. One that is missing for a while is being replaced, and that is not said."""
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            of.secret.unlink()
            await of.looks(15)
            of.secret.write_text("first")
            await of.looks(1)
        assert lines == []
        of.secret.unlink()
        await of.looks(16)
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("bridge.watch_blind", "warning")
    assert line["cause"] == f"{of.secret} cannot be read: No such file or directory: a change of it is not seen"


async def test_a_read_that_hangs_is_said_and_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop goes on; once the volume answers, the change is seen."""
    of = _Files(tmp_path, look_s=0.001)
    go = threading.Event()
    _hold(monkeypatch, lambda: go.wait(60))
    of.write("two")
    with structlog.testing.capture_logs() as lines:
        looking = asyncio.create_task(of.watch.look())
        while not lines:  # noqa: ASYNC110 - only a log line tells
            await asyncio.sleep(0.01)
        assert not looking.done()
        go.set()
        assert await looking == []
    assert [line["event"] for line in lines] == ["bridge.watch_blind"]
    assert await of.watch.look() == [str(of.config)]


async def test_a_look_that_fails_is_not_the_last(of: _Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its fault is, such as a thread that can't be started."""

    def fail() -> None:
        raise RuntimeError("can't start new thread")

    of.write("two")
    with monkeypatch.context() as patched:
        _hold(patched, fail)
        assert await of.looks() == NOTHING
    assert await of.looks(2) == [[], [str(of.config)]]


async def test_one_order_for_one_change(tmp_path: Path) -> None:
    """A bad file is loaded once, and not at each look; the log names the files."""
    of = _Files(tmp_path, look_s=0)
    results: list[str] = []
    both = asyncio.Event()

    async def reload() -> None:
        try:
            of.watch.load()
            results.append("good")
            both.set()
        except ConfigError:
            results.append("bad")
            asyncio.get_running_loop().call_later(0.1, of.write, "three")

    of.config.write_text("sources: {")
    with structlog.testing.capture_logs() as lines:
        running = asyncio.create_task(of.watch.run(reload))
        await asyncio.wait_for(both.wait(), 60)
        running.cancel()
    assert results == ["bad", "good"]
    orders = [line["files"] for line in lines if line["event"] == "bridge.reload_requested"]
    assert orders == [[str(of.config)]] * 2


@pytest.mark.parametrize("path", ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0", "pipe"])
def test_a_file_that_cannot_be_read_again_is_refused(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In words, before anything of it is read."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    assert cli.main(["run", path, "--reload-on-change"]) == 2
    assert f"--reload-on-change: {path} is no file that can be read again" in capsys.readouterr().err


def test_the_period_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """By `--help`, and by the documentation."""
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    assert f"every {LOOK_S:g} s" in capsys.readouterr().out
    assert f"every {LOOK_S:g} s" in (REPOSITORY / "docs" / "deployment.md").read_text()
