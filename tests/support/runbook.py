"""deploy/runbook.md: its headings, and the rows of its tables."""

from __future__ import annotations

import re
from typing import Final

from tests.support.children import REPOSITORY

PATH: Final = REPOSITORY / "deploy" / "runbook.md"
TEXT: Final = PATH.read_text()
_BLOCK: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
#: Without its blocks of commands.
PROSE: Final = _BLOCK.sub("", TEXT)
HEADINGS: Final[list[str]] = re.findall(r"^#+ (.*)$", PROSE, re.MULTILINE)
#: The first cells of tables.
CELLS: Final[list[str]] = re.findall(r"^\| (.*?) \|", TEXT, re.MULTILINE)


def anchor(heading: str) -> str:
    """Return the anchor that a heading has."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def commands() -> list[str]:
    """Return the lines of dramatiq-bridge in blocks and in the text, each without the program, its prompt and its pipes."""
    lines = [line for block in _BLOCK.findall(TEXT) for line in re.findall(r"^[$#] (.*)$", block, re.MULTILINE)]
    lines += re.findall(r"`([^`\n]*dramatiq-bridge [^`\n]*)`", PROSE.replace("\n", " "))
    parts = [part for line in lines for part in re.split(r" [|;] ", line)]
    found = [
        part.partition("dramatiq-bridge ") for part in parts if re.search(r"(^|-- | bridge )dramatiq-bridge ", part)
    ]
    return sorted({rest.partition("  #")[0].strip() for _, _, rest in found if re.match(r"[a-z]", rest)})


def has_row(line: str) -> bool:
    """Whether the first cell of a row is this line of /readyz: NAME, CAUSE and each number stand for any."""
    shown = [each for cell in CELLS for each in re.findall(r"`(.+?)`", cell)]
    return any(re.fullmatch(re.sub(r"NAME|CAUSE|\d+", ".+", re.escape(each)), line) for each in shown)
