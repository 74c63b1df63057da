"""Count the words that make a comment hard to read: `.ci/words.py [DIRECTORY]`. Exits 1 at 3 or more per 1,000 words.

A clause such as "what is left" names a thing without a noun, and the reader has to guess the noun. Nine other Python
projects have 0.0 to 0.4 of these words per 1,000 words of comments. Counted are comments and docstrings of `bridge/`,
comments of its Lua scripts, and the prose of README.md, ARCHITECTURE.md and docs/.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Counted words per 1,000 words at which the check fails.
LIMIT: Final = 3.0
#: Files that are listed when it fails.
_MAX_LISTED: Final = 10

_COUNTED: Final = re.compile(r"\b(?:what|whatever|whoever|that\s+which)\b", re.IGNORECASE)
#: Letters and digits, with apostrophes, hyphens and underscores inside: `doesn't`, `re-read` and `max_body` are one word.
_WORD: Final = re.compile(r"\w+(?:['-]\w+)*")

# A string of Lua is matched first, so that the dashes in it begin no comment.
_LUA: Final = re.compile(
    r"""  "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'
        | --\[(?P<level>=*)\[(?P<block>.*?)\](?P=level)\]
        | --(?P<line>[^\n]*)""",
    re.DOTALL | re.VERBOSE,
)
_FENCED: Final = re.compile(r"^ *(?P<fence>```+|~~~+).*?^ *(?P=fence)[`~]* *$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Count:
    """The words of one file's text, and those among them that are counted."""

    group: str
    file: str
    words: int
    counted: int

    @property
    def rate(self) -> float:
        """Counted words per 1,000 words."""
        return self.counted * 1000 / self.words if self.words else 0.0


def main(root: Path) -> int:
    """Print the rate of each group, and where the total reaches the limit the worst files; return the exit code."""
    counts = [count_of(group, str(path.relative_to(root)), text) for group, path, text in texts(root)]
    total = _sum("all", counts)
    if not total.words:
        print(f"words: nothing to read in {root}", file=sys.stderr)
        return 1
    groups = [_sum(group, [each for each in counts if each.group == group]) for group in _groups(counts)]
    for each in (*groups, total):
        print(f"words: {each.group:27} {each.counted:4} in {each.words:7,} words: {each.rate:5.2f} per 1,000")
    if total.rate < LIMIT:
        return 0
    print(f'words: "what", "whatever", "whoever" and "that which" have to stay below {LIMIT:g} per 1,000. Most are in:')
    by_file = [_sum(file, [each for each in counts if each.file == file]) for file in {each.file for each in counts}]
    for each in sorted(by_file, key=lambda count: (-count.counted, count.group))[:_MAX_LISTED]:
        print(f"words:   {each.group:40} {each.counted:4}, {each.rate:5.2f} per 1,000")
    return 1


def texts(root: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield the group, the file and the text of everything that is counted; a file of Python comes twice."""
    for path in sorted(root.glob("bridge/**/*.py")):
        source = path.read_text(encoding="utf-8")
        yield "comments (Python)", path, python_comments(source)
        yield "docstrings", path, python_docstrings(source)
    for path in sorted(root.glob("bridge/**/*.lua")):
        yield "comments (Lua)", path, lua_comments(path.read_text(encoding="utf-8"))
    for name in ("README.md", "ARCHITECTURE.md"):
        path = root / name
        if path.exists():
            yield name, path, prose(path.read_text(encoding="utf-8"))
    for path in sorted(root.glob("docs/*.md")):
        yield "docs", path, prose(path.read_text(encoding="utf-8"))


def count_of(group: str, file: str, text: str) -> Count:
    """Return the count of a text."""
    return Count(group, file, len(_WORD.findall(text)), len(_COUNTED.findall(text)))


def python_comments(source: str) -> str:
    """Return the comments of Python code, a line each."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return "\n".join(token.string.lstrip("#:! ") for token in tokens if token.type == tokenize.COMMENT)


def python_docstrings(source: str) -> str:
    """Return the docstrings of the module and of its classes and functions."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
    return "\n".join(filter(None, (ast.get_docstring(node) for node in nodes)))


def lua_comments(source: str) -> str:
    """Return the comments of Lua code, blocks included."""
    matches = _LUA.finditer(source)
    return "\n".join(match["line"] or match["block"] or "" for match in matches)


def prose(markdown: str) -> str:
    """Return Markdown without its fenced blocks of code."""
    return _FENCED.sub("", markdown)


def _groups(counts: list[Count]) -> list[str]:
    return list(dict.fromkeys(count.group for count in counts))


def _sum(name: str, counts: list[Count]) -> Count:
    return Count(name, name, sum(count.words for count in counts), sum(count.counted for count in counts))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]))
