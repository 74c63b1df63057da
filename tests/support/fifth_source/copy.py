"""A copy of the bridge that has the fifth source: two new files, and two lines changed in each of two others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support.children import REPOSITORY

_HERE: Final = "tests.support.fifth_source"
_NEW_FILES: Final = {"settings": "bridge/config/lines.py", "source": "bridge/sources/lines.py"}
#: By file: an import, and a line of the registry. The first text of each pair stands in it once, and becomes the second.
_CHANGES: Final = {
    "bridge/config/sources.py": (
        (
            "from bridge.config.source_model import",
            "from bridge.config.lines import Lines\nfrom bridge.config.source_model import",
        ),
        ("SourceConfig = Annotated[", "SourceConfig = Annotated[Lines | "),
    ),
    "bridge/sources/__init__.py": (
        (
            "from bridge.sources.redis_pubsub import",
            "from bridge.sources.lines import LinesSource\nfrom bridge.sources.redis_pubsub import",
        ),
        (
            '    "mqtt": _Protocol(',
            (
                '    "lines": _Protocol(lambda context: LinesSource(context.name, context.settings), orphans=None, subscriptions=None, look=None),\n'
                '    "mqtt": _Protocol('
            ),
        ),
    ),
}


class BridgeCopy:
    """The copy, in `directory`; `env` makes Python run it."""

    def __init__(self, directory: Path) -> None:
        # Safe path: `python -m` does not put the current directory, where the bridge itself is, before the copy.
        self.env = {"PYTHONPATH": os.fspath(directory), "PYTHONSAFEPATH": "1"}
        shutil.copytree(REPOSITORY / "bridge", directory / "bridge", ignore=shutil.ignore_patterns("__pycache__"))
        for module, file in _NEW_FILES.items():
            text = (Path(__file__).parent / f"{module}.py").read_text()
            (directory / file).write_text(text.replace(f"{_HERE}.settings", "bridge.config.lines"))
        for file, changes in _CHANGES.items():
            path = directory / file
            text = path.read_text()
            for old, new in changes:
                assert text.count(old) == 1, f"{file} holds {text.count(old)} times: {old}"
                text = text.replace(old, new)
            path.write_text(text)

    def run(self, *words: str, code: int = 0) -> str:
        """Run a command of the copy; return everything that it printed. Its exit code must be `code`."""
        command = [sys.executable, "-m", "bridge", *words]
        env = {**os.environ, **self.env}
        ended = subprocess.run(command, env=env, text=True, capture_output=True, timeout=60, check=False)
        output = ended.stdout + ended.stderr
        assert ended.returncode == code, output
        return output
