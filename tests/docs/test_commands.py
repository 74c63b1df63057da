"""Each command that the documents show exists, with its options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from bridge.commands.arguments import command_line
from tests.support.children import REPOSITORY
from tests.support.documents import documents, typed

#: Of the past, and printed by programs.
_NOT_TYPED: Final = ("CHANGELOG.md", "tests/faults/results.md", "tests/interop/results.md", "bench/results.md")
_INLINE: Final = re.compile(r"`dramatiq-bridge ([^`]+)`")
_MAKE: Final = re.compile(r"`make ([^`]+)`")
_PROGRAM: Final = re.compile(r"(\S*/)?dramatiq-bridge")
_TARGETS: Final = frozenset(
    re.findall(r"^([a-z0-9-]+):.*## ", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
)
DOCUMENTS: Final = tuple(path for path in documents() if str(path.relative_to(REPOSITORY)) not in _NOT_TYPED)
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))


def _programs(command: str) -> Iterator[list[str]]:
    """Yield the words of each program of a command line, without redirections."""
    for part in re.split(r"[|;]|&&|\$\(|<\(", command.replace('"$(', "$(").replace(')"', "")):
        try:
            words = shlex.split(part, comments=True)
        except ValueError:  # a quotation that ends in another part
            continue
        end = next((number for number, word in enumerate(words) if word.startswith((">", "2>"))), len(words))
        if words[:end]:
            yield words[:end]


def _arguments(words: list[str]) -> list[str] | None:
    """Return the arguments of `dramatiq-bridge`, which another program may start; None if nobody does."""
    if _PROGRAM.fullmatch(words[0]):
        return words[1:]
    if words[0] == "uvx" or words[:2] in (["docker", "exec"], ["docker", "run"], ["kubectl", "exec"]):
        names = [number for number, word in enumerate(words) if word == "dramatiq-bridge"]
        return words[names[-1] + 1 :] if names and "--entrypoint" not in words else None
    return None


def _refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    try:
        command_line().parse_args(words)
    except SystemExit as ended:
        return capsys.readouterr().err if ended.code else ""
    return ""


@each_document
def test_commands_exist(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The program's own parser takes every `dramatiq-bridge ...` behind a prompt, arguments and options too."""
    refused = {}
    for line, command in typed(document.read_text(encoding="utf-8")):
        for arguments in filter(None, map(_arguments, _programs(command))):
            if error := _refused(arguments, capsys):
                refused[f"{line}: {command}"] = error
    assert refused == {}


@each_document
def test_commands_in_sentences_exist(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There an argument may be left out, but command and options exist."""
    refused = {}
    for command in _INLINE.findall(document.read_text(encoding="utf-8")):
        words = next(_programs(command.removesuffix("...")))
        if (error := _refused(words, capsys)) and "required" not in error:
            refused[command] = error
    assert refused == {}


@each_document
def test_targets_of_make_exist(document: Path) -> None:
    """Each `make TARGET` that somebody is told to type is one that `make` lists."""
    text = document.read_text(encoding="utf-8")
    lines = [command.removeprefix("make ") for _, command in typed(text) if command.startswith("make ")]
    named = {
        word for line in (*lines, *_MAKE.findall(text)) for word in shlex.split(line, comments=True) if "=" not in word
    }
    assert named - _TARGETS == set()


def test_a_wrong_command_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    """By its name, and by its option, also behind a pipe and in a container."""
    for command in (
        "dramatiq-bridge chekc a.yaml",
        "cat a | bin/dramatiq-bridge check --jsn -",
        "docker exec b dramatiq-bridge stat",
    ):
        (arguments,) = filter(None, map(_arguments, _programs(command)))
        assert _refused(arguments, capsys), command
