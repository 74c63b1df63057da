"""A folder as a kubelet mounts a ConfigMap or a Secret: names that lead through `..data`, and an update that exchanges it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from itertools import count
from pathlib import Path


class ConfigMapVolume:
    """`path/NAME -> ..data/NAME`, `path/..data -> ..2026_N`; like the kubelet's AtomicWriter, it writes no file in place."""

    def __init__(self, path: Path, files: Mapping[str, str]) -> None:
        self.path = path
        self._versions = count(1)
        path.mkdir()
        self.update(files)

    def update(self, files: Mapping[str, str]) -> None:
        """Let these be the files, all in one step."""
        data = self.path / "..data"
        old = data.resolve() if data.is_symlink() else None
        version = self.path / f"..2026_{next(self._versions)}"
        version.mkdir()
        for name, text in files.items():
            (version / name).write_text(text)
        (self.path / "..data_tmp").symlink_to(version.name)
        (self.path / "..data_tmp").rename(data)
        for name in files:
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")
        for link in self.path.iterdir():
            if not link.name.startswith("..") and link.name not in files:
                link.unlink()
        if old is not None:
            shutil.rmtree(old)
