"""The page of every key is that of the schema."""

from __future__ import annotations

import json
import re

from bridge.config.models import Config
from tests.docs.site import script
from tests.support.documents import page


def test_the_reference_is_the_schemas() -> None:
    """`make reference` has been run since the schema has changed."""
    reference = script("reference")
    assert page("reference") == reference.reference(json.loads(reference.SCHEMA.read_text(encoding="utf-8")))


def test_a_number_is_shown_as_one() -> None:
    """A default that may be written without quotes has none."""
    (line,) = [line for line in page("reference").splitlines() if "#sources.mqtt.version)" in line]
    assert "| `5`, `3.1.1` | `5` |" in line


def test_every_key_is_there() -> None:
    """Each key of each mapping has a line of its own, with an anchor or a chapter: none is left out by the script."""
    text = page("reference")
    schema = Config.model_json_schema()
    mappings = [schema, *schema["$defs"].values()]
    named = set(re.findall(r"^\| (?:<a id=\"[^\"]+\"></a>)?\[`(\w+)`\]", text, re.MULTILINE))
    keys = {key for each in mappings for key in each.get("properties", {})} - {"arguments"}
    assert keys - named == set()
