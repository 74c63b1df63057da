"""The examples' own tests: they pass, they cover every route, and each change of a route makes one of them fail."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest
import yaml

from bridge.dry_run.suite import Suite
from bridge.errors import ConfigError
from tests.dry_run.mutants import mutants
from tests.support.children import REPOSITORY

EXAMPLES: Final = sorted((REPOSITORY / "config/examples").glob("*.yaml"))


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def example(request: pytest.FixtureRequest) -> Path:
    """Each example in turn."""
    return Path(request.param)


def _failures(path: Path) -> list[str]:
    suite = Suite(str(path))
    results = list(suite.run(range(len(suite.names()))))
    assert results
    return [line for result in results for line in result.differences]


def test_the_tests_of_an_example_pass_and_cover_it(example: Path) -> None:
    """A newcomer copies them; each route makes a message, and each `when` was true and false."""
    assert _failures(example) == []
    suite = Suite(str(example))
    list(suite.run(range(len(suite.names()))))
    assert suite.coverage.gaps == {}


def test_a_changed_operator_or_literal_fails_a_test(example: Path, tmp_path: Path) -> None:
    """The routes are covered, so no such change passes unseen; one that is no configuration is seen as well."""
    shutil.copytree(example.parent, tmp_path, dirs_exist_ok=True)  # tables and schemas lie beside it
    path = tmp_path / example.name
    survivors = []
    changed = 0
    for mutant in mutants(yaml.safe_load(example.read_text())):
        changed += 1
        path.write_text(yaml.safe_dump(mutant.config, sort_keys=False))
        try:
            if not _failures(path):
                survivors.append(mutant.change)
        except ConfigError:
            continue
    assert survivors == []
    assert changed >= 3
