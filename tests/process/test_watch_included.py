"""`--reload-on-change` of a configuration that includes others: a file that comes, one that goes, and one that changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.errors import ConfigError
from bridge.process.changes import compare
from bridge.process.file_watch import FileWatch
from bridge.process.loader import Loader, Prepared
from tests.support.config_map import ConfigMapVolume

MAIN = "include: [routes/*.yaml]\nsources: {s: {type: redis-stream, url: redis://localhost, streams: [s], group: g}}\n"


def _route(actor: str) -> str:
    return f"routes: [{{from: s, actor: {actor}}}]\n"


class _Files:
    """A configuration with one included file, and the watch that has loaded them."""

    def __init__(self, directory: Path) -> None:
        self.config = directory / "bridge.yaml"
        self.config.write_text(MAIN)
        self.routes = directory / "routes"
        self.routes.mkdir()
        self.first = self.routes / "first.yaml"
        self.first.write_text(_route("first"))
        self.watch = FileWatch(Loader(str(self.config)).load)
        self.loaded = self.watch.load()

    async def reloaded(self) -> tuple[list[str], list[str]]:
        """Return the files that two looks have found to change, and the words of the reload."""
        assert await self.watch.look() == []
        changed = await self.watch.look()
        before: Prepared = self.loaded
        self.loaded = self.watch.load()
        assert [await self.watch.look() for _ in range(3)] == [[], [], []]
        return changed, list(compare(before.config, self.loaded.config).words)


@pytest.fixture
def of(tmp_path: Path) -> _Files:
    """Files that are loaded, and that no look has seen yet."""
    return _Files(tmp_path)


async def test_a_file_that_comes_goes_or_changes_is_loaded(of: _Files) -> None:
    """The log names the pattern where other files are found than before, and the file where its contents are others."""
    pattern = f"the files of {of.routes}/*.yaml"
    second = of.routes / "second.yaml"
    second.write_text(_route("second"))
    assert await of.reloaded() == ([pattern], ["route second added"])
    second.write_text(_route("other"))
    assert await of.reloaded() == ([str(second)], ["route second removed", "route other added"])
    second.unlink()
    assert await of.reloaded() == ([pattern], ["route other removed"])


async def test_the_last_file_that_goes_is_a_mistake_and_comes_back(of: _Files) -> None:
    """The bridge keeps its routes meanwhile."""
    of.first.unlink()
    assert await of.watch.look() == []
    assert await of.watch.look() != []
    with pytest.raises(ConfigError, match="no file is found by"):
        of.watch.load()
    assert [await of.watch.look() for _ in range(3)] == [[], [], []]
    of.first.write_text(_route("again"))
    assert await of.reloaded() == ([f"the files of {of.routes}/*.yaml"], ["route first removed", "route again added"])


async def test_what_an_editor_leaves_is_no_change(of: _Files) -> None:
    """A lock, a backup, and a swap file."""
    (of.routes / ".#first.yaml").symlink_to("user@host.1:2")
    for name in (".first.yaml.swp", "first.yaml~", "4913"):
        (of.routes / name).write_text("rubbish: [")
    assert [await of.watch.look() for _ in range(3)] == [[], [], []]


async def test_a_config_map_of_several_files_is_updated_in_one_reload(tmp_path: Path) -> None:
    """A volume exchanges all its files in one step; the folder may be that of the file itself."""
    main = MAIN.replace("routes/*", "routes-*")
    volume = ConfigMapVolume(tmp_path / "config", {"bridge.yaml": main, "routes-a.yaml": _route("a")})
    watch = FileWatch(Loader(str(volume.path / "bridge.yaml")).load)
    before = watch.load()
    volume.update({"bridge.yaml": main, "routes-a.yaml": _route("a2"), "routes-b.yaml": _route("b")})
    assert await watch.look() == []
    assert sorted(await watch.look()) == [
        str(volume.path / "routes-a.yaml"),
        f"the files of {volume.path}/routes-*.yaml",
    ]
    words = compare(before.config, watch.load().config).words
    assert list(words) == ["route a removed", "route a2 added", "route b added"]
