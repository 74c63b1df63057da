"""Tables and schemas in a configuration of several files: their places, and the folder where their own files lie."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge import config
from bridge.errors import ConfigError
from bridge.routing.compiler import check_routes


def test_tables_and_schemas_of_included_files_and_of_defaults(tmp_path: Path) -> None:
    """A path begins at the folder of the file that has it, and places name that file."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/t.csv").write_text("nr\na\n")
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
    (tmp_path / "parts/t.csv").write_text("nr\na\na\n")
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


def test_a_path_begins_at_the_folder_of_the_file_that_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of one name in two folders are two; a path may lead up, be absolute, or come from outside."""
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b", "c"):
        Path(folder).mkdir()
        Path(folder, "s.json").write_text(json.dumps({"title": folder}))
    main = (
        f"include: [a/*.yaml, b/*.yaml, {tmp_path}/c/*.yaml]\nsources: {{s: {{type: mqtt, url: mqtt://localhost}}}}\n"
    )
    Path("bridge.yaml").write_text(main)
    Path("a/r.yaml").write_text("routes: [{from: s, actor: a, validate: s.json}]\n")
    Path("b/r.yaml").write_text(
        "routes: [{from: s, actor: b, validate: '${S}.json'}, {from: s, actor: b, validate: ../c/s.json}]\n"
    )
    Path("c/r.yaml").write_text(
        f"sources: {{t: {{type: mqtt, url: mqtt://localhost, validate: s.json}}}}\n"
        f"routes: [{{from: t, actor: c, validate: {tmp_path}/a/s.json}}]\ntables: {{t: {{file: s.json}}}}\n"
    )
    loaded = config.load("bridge.yaml", environ={"S": "s"}, check=check_routes)
    settings = [*(route.validation for route in loaded.routes), loaded.sources["t"].validation]
    assert [loaded.schemas[str(setting)].value["title"] for setting in settings] == ["a", "b", "c", "a", "c"]
    assert loaded.rows == {"t": {"title": "c"}}


def test_a_missing_file_is_named_with_the_folder_for_each_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever path was written, and from wherever the configuration is read."""
    monkeypatch.chdir(tmp_path)
    Path("parts").mkdir()
    Path("bridge.yaml").write_text("include: [parts/*.yaml]\nsources: {s: {type: mqtt, url: mqtt://localhost}}\n")
    Path("parts/a.yaml").write_text(
        "tables: {t: {file: t.csv, key: k}}\n"
        "routes:\n  - {from: s, actor: a, validate: s.json}\n  - {from: s, actor: b, validate: s.json}\n"
    )
    with pytest.raises(ConfigError) as refused:
        config.load("bridge.yaml", check=check_routes)
    missing = "cannot be read: No such file or directory"
    assert [(each.file, each.line, each.message) for each in refused.value.diagnostics] == [
        ("parts/a.yaml", 1, f"the file {tmp_path}/parts/t.csv {missing}"),
        ("parts/a.yaml", 3, f"the file {tmp_path}/parts/s.json {missing}"),
        ("parts/a.yaml", 4, f"the file {tmp_path}/parts/s.json {missing}"),
    ]


@pytest.mark.parametrize(("file", "body"), [("t.csv", "nr\na\nb\n"), ("s.json", '{"type": "array"}')])
def test_the_fingerprint_is_also_of_tables_and_schemas(tmp_path: Path, file: str, body: str) -> None:
    """A reload exchanges them: another content is another configuration."""
    (tmp_path / "t.csv").write_text("nr\na\n")
    (tmp_path / "s.json").write_text("{}")
    path = tmp_path / "bridge.yaml"
    path.write_text(
        "sources: {s: {type: mqtt, url: mqtt://localhost, validate: s.json}}\n"
        "tables: {t: {file: t.csv, key: nr}}\nroutes: [{from: s, actor: a}]\n"
    )
    before = [config.load(path).origin.fingerprint for _ in range(2)]
    (tmp_path / file).write_text(body)
    after = config.load(path).origin.fingerprint
    assert before[0] == before[1] != after
