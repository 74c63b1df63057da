"""Tables and schemas in a configuration of several files: their places, and the folder where their own files lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge import config
from bridge.errors import ConfigError
from bridge.routing.compiler import check_routes


def test_tables_and_schemas_of_included_files_and_of_defaults(tmp_path: Path) -> None:
    """Paths are relative to the configuration, and places name the file that has them."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "t.csv").write_text("nr\na\n")
    (tmp_path / "s.json").write_text('{"type": "object"}')
    (tmp_path / "bridge.yaml").write_text(
        "include: [parts/*.yaml]\n"
        "defaults: {mqtt: {validate: s.json}}\n"
        "sources: {s: {type: mqtt, url: mqtt://localhost}}\n"
    )
    part = tmp_path / "parts/a.yaml"
    part.write_text(
        "tables: {t: {file: t.csv, key: nr, value: nr}}\n"
        "routes:\n  - {from: s, actor: a, validate: {type: object}, args: ['$lookup(\"t\", 1)']}\n"
    )
    loaded = config.load(tmp_path / "bridge.yaml", check=check_routes)
    assert loaded.rows == {"t": {"a": "a"}}
    assert loaded.sources["s"].validation == "s.json"
    assert loaded.schemas["s.json"].value == {"type": "object"}
    (tmp_path / "t.csv").write_text("nr\na\na\n")
    (tmp_path / "s.json").write_text('{"type": "objekt"}')
    part.write_text(part.read_text().replace("type: object", "type: [5]").replace('"t"', '"u"'))
    with pytest.raises(ConfigError) as refused:
        config.load(tmp_path / "bridge.yaml", check=check_routes)
    found = {(Path(each.file).name, each.line, each.where) for each in refused.value.diagnostics}
    assert found == {
        ("a.yaml", 3, "routes[0].validate.type"),
        ("a.yaml", 3, "routes[0].args[0]"),
        ("t.csv", 3, "tables.t"),
        ("s.json", 1, "type"),
    }
