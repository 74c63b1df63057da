"""Files that are written in place while the bridge reads them: a half is never taken for the whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from bridge.config import files
from bridge.errors import ConfigError
from bridge.process.loader import Loader, Prepared

MAIN: Final = """\
include: [more.yaml]
sources: {s: {type: redis-pubsub, url: redis://localhost, channels: [c]}}
tables: {t: {file: t.csv, key: k, value: v}}
routes: [{from: s, actor: a, args: ['$lookup("t", "1")'], validate: s.json}]
"""
FILES: Final = {
    "t.csv": "k,v\n" + "".join(f"{number},{number}\n" for number in range(50)),
    "more.yaml": "routes: [{from: s, actor: b}]\n" + "# a comment\n" * 50,
    "s.json": '{"required": ["a"]}' + "\n" * 50,
}


@contextmanager
def written(path: Path, text: str, *, endless: bool) -> Iterator[threading.Event]:
    """Write a file in place and in pieces, from before the block on: its first half and no more is there at first."""
    stop, half, done = threading.Event(), threading.Event(), threading.Event()

    def write() -> None:
        with path.open("w") as file:
            while not stop.is_set():
                file.seek(0)
                file.truncate()
                for number in range(0, len(text), len(text) // 20):
                    file.write(text[number : number + len(text) // 20])
                    file.flush()
                    if number > len(text) // 2:
                        half.set()
                    stop.wait(0.01)
                if not endless:
                    break
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    half.wait()
    try:
        yield done
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Prepared]:
    """Return the load of a bridge that runs, of a configuration of several files."""
    monkeypatch.setattr(files, "_REST_S", 0.5)  # on a busy machine a writer may pause for longer than it means to
    (tmp_path / "bridge.yaml").write_text(MAIN)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return Loader(str(tmp_path / "bridge.yaml")).load


@pytest.mark.parametrize("name", FILES)
def test_a_load_waits_for_the_end_of_a_writer(name: str, load: Callable[[], Prepared], tmp_path: Path) -> None:
    """A table, a schema and an included file, written in pieces."""
    with written(tmp_path / name, FILES[name], endless=False) as done:
        load()
        assert done.is_set()


@pytest.mark.parametrize("name", ["t.csv", "bridge.yaml"])
def test_a_writer_without_an_end_is_a_mistake(
    name: str, load: Callable[[], Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The load names the remedy, and the bridge keeps the old values."""
    monkeypatch.setattr(files, "_READS", 2)
    with (
        written(tmp_path / name, FILES.get(name, MAIN), endless=True),
        pytest.raises(ConfigError, match="is written while it is read: replace it by a rename"),
    ):
        load()
