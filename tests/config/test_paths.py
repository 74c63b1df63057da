"""The paths of a configuration: each error about a file names the whole place, whichever key has it and wherever it begins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest
import structlog

from bridge.commands.path_notes import path_notes
from bridge.config import load, tls
from bridge.config.loading import load_with_places
from bridge.config.substitution import Substitution
from bridge.dry_run.suite import Suite
from bridge.errors import ConfigError
from bridge.spool import SpoolDirectory

SOURCE: Final = "s: {{type: mqtt, url: 'mqtts://h', topics: [t]{}}}"
TEST: Final = "tests: [{name: t, event: {from: s, topic: t, payload_file: x/no.json}, expect: []}]"
#: Read with the configuration: a path begins at the folder of its file. Used while the bridge runs: at the working directory.
READ: Final = {
    "include": "include: [x/no.yaml]",
    "include with a wildcard": "include: [x/no*.yaml]",
    "manifest": "manifest: x/no.json",
    "a table": "tables: {t: {file: x/no.json}}",
    "validate of a route": "routes: [{from: s, actor: a, validate: x/no.json}]",
    "payload_file": TEST,
}
TLS: Final = {"{ca: x/no.pem}": 1, "{cert: x/no.pem, key: x/no.pem}": 2}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a configuration, beside that in which the commands are run."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "conf" / "x").mkdir(parents=True)
    return tmp_path / "conf"


def _said(folder: Path, text: str, setting: str = "") -> list[str]:
    (folder / "bridge.yaml").write_text(f"sources: {{{SOURCE.format(setting)}}}\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        _load("../conf/bridge.yaml", of_tests="tests:" in text)
    return [mistake.message for mistake in caught.value.diagnostics]


def _load(path: str, *, of_tests: bool) -> None:
    if of_tests:
        Suite(path)
    load(path, environ={}, check=lambda loaded: [*tls.mistakes(loaded)])


@pytest.mark.parametrize("text", READ.values(), ids=READ)
def test_a_file_that_is_read_with_the_configuration_begins_beside_it(folder: Path, text: str) -> None:
    """And the error names the folder in which it was sought."""
    (message,) = _said(folder, text)
    assert f"{Path.cwd()}/../conf" in message
    assert "x/no" in message


@pytest.mark.parametrize("files", TLS)
def test_a_file_of_tls_begins_at_the_working_directory(folder: Path, files: str) -> None:
    """Of the sink and of a source; the error names it."""
    words = f"{Path.cwd()}/x/no.pem cannot be read: No such file or directory"
    assert _said(folder, "", f", tls: {files}") == [words] * TLS[files]
    assert _said(folder, f"dramatiq: {{url: 'rediss://h', tls: {files}}}") == [words] * TLS[files]


def test_a_path_that_begins_elsewhere_than_its_file_is_noted(folder: Path) -> None:
    """Whichever file names it: one rule. Where the folders are the same, and of a whole path, there is no doubt."""
    files = {
        "bridge.yaml": "include: [x/*.yaml]\ndefaults:\n  mqtt:\n    tls: {ca: ca.pem}\nsources:\n"
        "  s: {type: mqtt, url: 'mqtts://h'}\n  d: {type: mqtt, url: 'mqtts://h'}\n"
        "  w: {type: mqtt, url: 'mqtts://h', tls: {ca: /ca.pem}}\nspool: {directory: spool}\n",
        "x/more.yaml": "sources:\n  m: {type: mqtt, url: 'mqtts://h', tls: {cert: c.pem, key: /k.pem}}\n",
    }  # fmt: skip
    for name, text in files.items():
        (folder / name).write_text(text)

    def noted() -> list[str]:
        loaded = load_with_places(folder / "bridge.yaml", Substitution({}))
        notes = [(loaded.document.place(note), note.message) for note in path_notes(loaded.model, loaded.document)]
        return [f"{Path(at.file).name}:{at.line}: {message}" for at, message in notes]

    words = f"the path begins at the working directory, which is {Path.cwd()} now, and not beside this file; write a whole one"
    assert noted() == [
        f"bridge.yaml:4: ca: {words}",
        f"more.yaml:2: cert: {words}",
        f"bridge.yaml:9: directory: {words}",
    ]
    os.chdir(folder)
    assert noted() == [f"more.yaml:2: cert: {words.replace(str(folder.parent / 'here'), str(folder))}"]


async def test_the_log_names_the_whole_place_of_a_spool(folder: Path) -> None:
    """Of a relative one, which begins at the working directory."""
    (folder.parent / "here" / "file").touch()
    with structlog.testing.capture_logs() as lines:
        assert not await SpoolDirectory(Path("file"), 1 << 20).own()
    (line,) = lines
    assert line["directory"] == f"{folder.parent}/here/file"


def test_a_working_directory_that_is_gone_is_no_obstacle(folder: Path) -> None:
    """A path that begins there is named as it is written."""
    Path.cwd().rmdir()
    path = folder / "bridge.yaml"
    path.write_text(f"sources: {{{SOURCE.format(', tls: {ca: x/no.pem}')}}}\n")
    with pytest.raises(ConfigError, match=r"ca: x/no\.pem cannot be read"):
        _load(str(path), of_tests=False)
    loaded = load_with_places(path, Substitution({}))
    assert len([*path_notes(loaded.model, loaded.document)]) == 1
