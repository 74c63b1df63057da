"""`check --allow-unset` and `test`: a placeholder stands for a reference without a value."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from bridge.config.loading import load_with_places
from bridge.config.substitution import Substitution
from bridge.errors import ConfigError
from tests.support.children import REPOSITORY


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        for key, below in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(below, (*path, key))
    else:
        yield path


def test_a_placeholder_stands_for_any_setting(tmp_path: Path) -> None:
    """Without a value here no setting is a mistake, but the type of a source, by which its other keys are known."""
    text = (REPOSITORY / "config/bridge.yaml").read_text()
    refused = []
    paths = [path for path in _leaves(yaml.safe_load(text)) if path[0] != "tests"]
    for path in paths:
        value = yaml.safe_load(text)
        inside = value
        for step in path[:-1]:
            inside = inside[step]
        inside[path[-1]] = "${NOWHERE}"
        file = tmp_path / "bridge.yaml"
        file.write_text(yaml.safe_dump(value, sort_keys=False))
        try:
            load_with_places(file, Substitution({}, allow_unset=True))
        except ConfigError:
            refused.append(path)
    assert len(paths) > 50
    assert refused == [path for path in paths if path[0] == "sources" and path[2:] == ("type",)]
