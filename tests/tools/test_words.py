"""The count of words that make a comment hard to read, which `make lint` fails for."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.children import REPOSITORY

_SCRIPT = REPOSITORY / ".ci" / "words.py"

_LINE = re.compile(
    r"^words: (?P<group>\S.*?) +(?P<counted>\d+) in +(?P<words>[\d,]+) words: +(?P<rate>[\d.]+) per 1,000$"
)


def _run(root: Path, **files: str) -> tuple[int, dict[str, tuple[int, int]], list[str]]:
    """Write the files (`bridge__a_py` is bridge/a.py); return the exit code, (counted, words) by group, and the rest."""
    for name, text in files.items():
        path = root / re.sub(r"_(py|lua|md)$", r".\1", name.replace("__", "/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    done = subprocess.run(
        [sys.executable, str(_SCRIPT), str(root)], capture_output=True, text=True, timeout=60, check=False
    )
    assert not done.stderr, done.stderr
    lines = done.stdout.splitlines()
    groups = {
        match["group"]: (int(match["counted"]), int(match["words"].replace(",", "")))
        for match in map(_LINE.match, lines)
        if match
    }
    return done.returncode, groups, [line for line in lines if not _LINE.match(line)]


@pytest.mark.parametrize(("counted", "code"), [(2, 0), (3, 1)])
def test_three_per_thousand_words_is_too_much(tmp_path: Path, counted: int, code: int) -> None:
    """2 per 1,000 pass, 3 fail."""
    text = " ".join(["what"] * counted + ["word"] * (1000 - counted))
    assert _run(tmp_path, README_md=text)[:2] == (code, {"README.md": (counted, 1000), "all": (counted, 1000)})


def test_the_limit_is_for_all_texts_together(tmp_path: Path) -> None:
    """One bad file alone does not fail the check."""
    code, groups, _ = _run(tmp_path, README_md="word " * 1000, bridge__a_py="# what is left\n")
    assert (code, groups["comments (Python)"], groups["all"]) == (0, (1, 3), (1, 1003))


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("What is left, whatever it is, and WHOEVER asks", 3),
        ("that which is left", 1),
        ("that\nwhich is left", 1),
        ("`what`", 1),
        ("what's left", 1),
        ("somewhat, whatsoever, that is the one which is left", 0),
        ("whats what_is_left", 0),
    ],
)
def test_whole_words_are_counted_in_any_case(tmp_path: Path, text: str, counted: int) -> None:
    """Part of a longer word is no match; `that which` may cross a line."""
    assert _run(tmp_path, README_md=text)[1]["README.md"][0] == counted


def test_words_with_apostrophe_hyphen_or_underscore_are_one(tmp_path: Path) -> None:
    """The number of words is the one a reader would count."""
    assert _run(tmp_path, README_md="doesn't re-read max_body - 4,000 times")[1]["README.md"] == (0, 6)


_PYTHON = '''\
#!/usr/bin/env python
"""The module: what one."""
#: Two words.
NAME = "what # what"  # what three words

class A:
    """Class, what."""

    def method(self) -> str:
        """Method, what."""
        return """what is no docstring"""

    async def other(self) -> None:
        """Other, what."""
        "what a string"
        f"{NAME} # what"
'''


def test_of_python_comments_and_docstrings_count_and_strings_do_not(tmp_path: Path) -> None:
    """Strings are code, wherever they stand; files are found at any depth."""
    groups = _run(tmp_path, bridge__deep__er__a_py=_PYTHON)[1]
    # The interpreter's line is four words of a comment.
    assert groups["comments (Python)"] == (1, 4 + 2 + 3)
    assert groups["docstrings"] == (4, 4 + 2 + 2 + 2)


_LUA = """\
-- what one
local text = "-- what" .. '-- what \\' -- what'  -- what two
--[[ A block,
what three ]]
--[==[ what ]] four ]==]
local block = [[ nothing ]]
"""


def test_of_lua_comments_count_and_strings_do_not(tmp_path: Path) -> None:
    """Dashes in a string begin no comment; blocks of any level count."""
    assert _run(tmp_path, bridge__a_lua=_LUA)[1]["comments (Lua)"] == (4, 2 + 2 + 4 + 2)


_MARKDOWN = """\
What one
```yaml
what: what
```
two words
- in a list:
  ~~~~
  what
  ```
  ~~~~
what three words
"""


def test_of_markdown_blocks_of_code_do_not_count(tmp_path: Path) -> None:
    """Fences of both kinds, indented ones too; other files are not read."""
    files = {"README_md": _MARKDOWN, "ARCHITECTURE_md": "what", "docs__page_md": "what else", "CHANGELOG_md": "what"}
    groups = _run(tmp_path, **files)[1]
    assert groups == {
        "README.md": (2, 2 + 2 + 3 + 3),
        "ARCHITECTURE.md": (1, 1),
        "docs": (1, 2),
        "all": (4, 13),
    }


def test_the_worst_files_are_named_when_it_fails(tmp_path: Path) -> None:
    """At most ten, the worst first, comments and docstrings of a file together."""
    files = {f"bridge__file{number:02}_py": '"""what"""\n' + "# what\n" * number for number in range(12)}
    code, _, rest = _run(tmp_path, **files)
    assert code == 1
    named = [line.split()[1:3] for line in rest[1:]]
    assert named == [[f"bridge/file{number:02}.py", f"{number + 1},"] for number in range(11, 1, -1)]


def test_a_directory_without_anything_to_read_fails(tmp_path: Path) -> None:
    """A wrong directory is not a clean one."""
    done = subprocess.run(
        [sys.executable, str(_SCRIPT), str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (1, f"words: nothing to read in {tmp_path}\n")
