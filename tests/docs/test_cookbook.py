"""Each recipe of the cookbook is a whole file that `check` takes, and whose tests hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
import yaml

from bridge import cli
from tests.support.documents import blocks, page, section

_COOKBOOK: Final = page("cookbook")
_RECIPES: Final = re.findall(r"^## (.+)$", _COOKBOOK, re.MULTILINE)


def _file(recipe: str, folder: Path) -> Path:
    """Write the recipe's file, and the secrets that it reads."""
    (block,) = blocks(section(_COOKBOOK, recipe), "yaml")
    secrets = folder / "secrets"
    secrets.mkdir()
    for name in re.findall(r"\$\{file:/run/secrets/(\w+)\}", block.text):
        (secrets / name).write_text("secret\n")
    path = folder / "bridge.yaml"
    path.write_text(block.text.replace("/run/secrets", str(secrets)))
    return path


@pytest.mark.parametrize("recipe", _RECIPES)
def test_a_recipe_holds(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its file has no mistake, and its tests pass: at least one event that becomes messages, and one for each source that has routes."""
    for name in ("SITE", "REDIS_URL", "MQTT_URL"):
        monkeypatch.delenv(name, raising=False)
    path = _file(recipe, tmp_path)
    assert cli.main(["check", str(path)]) == 0, capsys.readouterr().err
    assert cli.main(["test", str(path)]) == 0, capsys.readouterr().out
    tests = yaml.safe_load(path.read_text())["tests"]
    assert any(test.get("expect") for test in tests)


def test_a_recipe_that_is_wrong_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its test."""
    path = _file(_RECIPES[0], tmp_path)
    path.write_text(path.read_text().replace("queue: stock, args", "queue: store, args", 1))
    assert cli.main(["test", str(path)]) == 1
    assert "queue" in capsys.readouterr().out


def test_no_two_recipes_have_one_name() -> None:
    """So that each is tried."""
    assert len(set(_RECIPES)) == len(_RECIPES) == len(blocks(_COOKBOOK, "yaml"))
