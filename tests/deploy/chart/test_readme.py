"""The chart's README, its values and their schema say the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import yaml

from tests.deploy.chart.rendering import CHART

README: Final = (CHART / "README.md").read_text()
VALUES: Final[dict[str, Any]] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: Final[dict[str, Any]] = json.loads((CHART / "values.schema.json").read_text())
#: Values that helm itself adds.
_OF_HELM: Final = {"global"}


def _leaves(values: dict[str, Any], schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each value that a user may set by its path; a map of which the schema names the keys is no value itself."""
    for key, value in values.items():
        below = schema["properties"][key]
        if isinstance(value, dict) and below.get("additionalProperties") is False and key != "resources":
            yield from ((f"{key}.{path}", leaf) for path, leaf in _leaves(value, below))
        else:
            yield key, value


def test_the_table_has_every_value_with_its_default() -> None:
    """The README's table is the chart's values.yaml: each value once, with the default that it has."""
    section = README.partition("\n## Values\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([A-Za-z.]+)` \| `(.*?)` \|", section, re.MULTILINE)
    assert len(rows) == len(dict(rows))
    assert {path: yaml.safe_load(default) for path, default in rows} == dict(_leaves(VALUES, SCHEMA))


def test_the_schema_knows_exactly_the_values() -> None:
    """Each value is in the schema, each key of the schema is a value, and any other key is refused."""

    def compare(values: dict[str, Any], schema: dict[str, Any]) -> None:
        assert schema["additionalProperties"] is False
        assert schema["properties"].keys() - _OF_HELM == values.keys()
        for key, value in values.items():
            if isinstance(value, dict) and "properties" in schema["properties"][key] and key != "resources":
                compare(value, schema["properties"][key])

    compare(VALUES, SCHEMA)


def test_every_value_is_used() -> None:
    """No value is without an effect: a template asks for it."""
    text = "".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())
    paths = [path for path, _ in _leaves(VALUES, SCHEMA)]
    # `image` alone is put into a variable first.
    assert [path for path in paths if f".Values.{path}" not in text and f"${path}" not in text] == []


def test_the_links_lead_somewhere() -> None:
    """Every link of the README is a file of the repository, and every anchor in it a heading."""
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", README):
        path, _, anchor = target.partition("#")
        assert (CHART / path).exists(), target
        if not path:
            assert anchor in headings, target
