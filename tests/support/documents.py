"""The Markdown of this repository, as tests read it: links, anchors, blocks of code, commands."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.support.children import REPOSITORY

_FENCED: Final = re.compile(
    r"^(?P<indent> *)(?P<marks>```+|~~~+)(?P<language>\S*)\n(?P<text>.*?)^ *(?P=marks) *$", re.DOTALL | re.MULTILINE
)
_CODE: Final = re.compile(r"(`+).+?\1", re.DOTALL)
_LINK: Final = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
_HEADING: Final = re.compile(r"^#+ +(.+?) *#*$", re.MULTILINE)
_ID: Final = re.compile(r'<a id="([^"]+)">')
_PROMPT: Final = re.compile(r"^[$#] (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    language: str
    text: str
    line: int


@cache
def documents() -> tuple[Path, ...]:
    """Return every Markdown file that git has, or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return tuple(path for path in (REPOSITORY / name for name in listed.stdout.splitlines()) if path.exists())


def page(name: str) -> str:
    """Return the text of docs/NAME.md."""
    return (REPOSITORY / "docs" / f"{name}.md").read_text(encoding="utf-8")


def acl_line() -> str:
    """Return the line that gives the bridge's user its rights, as the documents tell it."""
    (line,) = [line for line in page("works-with").splitlines() if line.startswith("ACL SETUSER")]
    return line


def section(text: str, heading: str) -> str:
    """Return the chapter below a heading of the second level."""
    (_, found, rest) = text.partition(f"\n## {heading}\n")
    assert found, heading
    return rest.partition("\n## ")[0]


def blocks(text: str, *languages: str) -> list[Block]:
    """Return the fenced blocks of these languages."""
    return [
        Block(match["language"], match["text"], text[: match.start()].count("\n") + 1)
        for match in _FENCED.finditer(text)
        if match["language"] in languages
    ]


def links(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the target of each link and picture outside code."""
    for match in _LINK.finditer(_blank(text)):
        yield text[: match.start()].count("\n") + 1, match[1]


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return the anchors of a document, as forges make them of its headings, and those that it writes itself."""
    text = path.read_text(encoding="utf-8")
    prose = _FENCED.sub("", text)
    seen: dict[str, int] = {}
    found = set(_ID.findall(prose))
    for heading in _HEADING.findall(prose):
        plain = re.sub(r"\[((?:[^\[\]])*)\]\([^()]*\)", r"\1", re.sub(r"<[^>]+>", "", heading)).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = seen.get(slug, 0)
        seen[slug] = number + 1
        found.add(f"{slug}-{number}" if number else slug)
    return frozenset(found)


def typed(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each command behind a prompt; one that goes on behind a backslash is whole."""
    for block in blocks(text, "console", "sh", ""):
        whole = re.sub(r"\\\n *", "", block.text)
        for match in _PROMPT.finditer(whole):
            yield block.line, match[1]


def _blank(text: str) -> str:
    """Return the text with its code blanked out, and its lines where they were."""

    def spaces(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    return _CODE.sub(spaces, _FENCED.sub(spaces, text))
