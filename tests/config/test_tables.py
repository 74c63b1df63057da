"""`tables:`: rows of every kind of file, and each mistake with its file and line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from bridge import config
from bridge.config import table_files, tables
from bridge.config.loading import load_with_places
from bridge.config.substitution import Substitution
from bridge.errors import ConfigError
from bridge.routing.compiler import check_routes

_SOURCE: Final = "sources: {s: {type: mqtt, url: mqtt://localhost}}\nroutes: [{from: s, actor: a}]\n"
#: Writes files, loads a configuration with one table `t`, and returns its rows.
Rows = Callable[..., Mapping[str, Any]]


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    """Return the rows of the table `t` with these settings; `files` are written beside the configuration."""

    def load(settings: dict[str, Any], **files: str | bytes) -> Mapping[str, Any]:
        for name, text in files.items():
            body = text if isinstance(text, bytes) else text.encode()
            (tmp_path / name.replace("_", ".")).write_bytes(body)
        path = tmp_path / "bridge.yaml"
        path.write_text(f"{_SOURCE}tables: {{t: {json.dumps(settings)}}}\n")
        return config.load(path, environ={"X": "from outside"}).rows["t"]

    return load


@pytest.mark.parametrize(
    ("settings", "text", "expected"),
    [
        ({"key": "no", "value": "account"}, "no,account\nc7,4711\n8,x\n", {"c7": "4711", "8": "x"}),
        ({"key": "no"}, "no,account\nc7,4711\n", {"c7": {"no": "c7", "account": "4711"}}),
        ({"key": "no", "value": "a b", "delimiter": ";"}, '\ufeff"no";"a b"\r\n"c;7";"4""7\n1"\r\n', {"c;7": '4"7\n1'}),
        ({"key": "no", "value": "no", "delimiter": "\t"}, "\n\nno\tx\n\n1\t\n\n", {"1": "1"}),
        ({"key": "no"}, "no,x\n", {}),
    ],
)
def test_csv_has_texts_below_a_header(
    rows: Rows, settings: dict[str, Any], text: str, expected: Mapping[str, Any]
) -> None:
    """Quotes, line breaks in a field, a BOM, empty lines, another delimiter; a table may be empty."""
    assert rows({"file": "t.csv", **settings}, t_csv=text) == expected


@pytest.mark.parametrize(
    ("settings", "document", "expected"),
    [
        ({}, {"d1": {"zone": 3}, "d2": None}, {"d1": {"zone": 3}, "d2": None}),
        ({"value": "zone"}, {"d1": {"zone": 3}}, {"d1": 3}),
        ({"key": "id"}, [{"id": 7, "x": [1.5]}, {"id": "b"}], {"7": {"id": 7, "x": [1.5]}, "b": {"id": "b"}}),
        ({"key": "id", "value": "x"}, [{"id": -1, "x": True}], {"-1": True}),
        ({}, {}, {}),
        ({"key": "id"}, [], {}),
    ],
)
@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_a_mapping_or_a_list_of_mappings(
    rows: Rows, kind: str, settings: dict[str, Any], document: object, expected: Mapping[str, Any]
) -> None:
    """In JSON and YAML alike; a whole number as a key is its digits."""
    assert (
        rows({"file": f"t.{kind}", **settings}, **{f"t_{kind}": "\ufeff " + json.dumps(document, indent=1)}) == expected
    )


_JSON: Final = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats(allow_nan=False, allow_infinity=False) | strategies.text(alphabet=strategies.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(alphabet='ab"\\\n', max_size=2), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(
    strategies.dictionaries(strategies.text(alphabet='ab{}[],: \n"\\', max_size=4), _JSON, max_size=6),
    strategies.sampled_from([None, 0, 3, "\t"]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_json_is_read_as_json_whatever_stands_in_it(tmp_path: Path, document: dict[str, Any], indent: Any) -> None:
    """Brackets and quotes in texts, any white space: the rows are those of the standard library, line by line."""
    path = tmp_path / "t.json"
    path.write_text(json.dumps(document, indent=indent), encoding="utf-8")
    assert table_files.read_rows(table_files.TableFile(path))[0] == document
    listed = [{"id": key, "value": value} for key, value in document.items()]
    path.write_text(json.dumps(listed, indent=indent, ensure_ascii=False), encoding="utf-8")
    assert table_files.read_rows(table_files.TableFile(path, "id", "value"))[0] == document


def test_values_stand_in_the_configuration(rows: Rows) -> None:
    """There `${...}` is replaced, in a file it is text."""
    assert rows({"values": {"a": "${X}", "b": {"c": 1}}}) == {"a": "from outside", "b": {"c": 1}}
    assert rows({"values": {"b": {"c": 1}}, "value": "c"}) == {"b": 1}
    assert rows({"file": "t.yaml"}, t_yaml="a: ${X}\nb: $${\n") == {"a": "${X}", "b": "$${"}


@pytest.mark.parametrize(
    ("settings", "body", "mistake"),
    [
        ({"file": "t.csv", "key": "no"}, "no,x\n1,a\n2,b\n1,c\n", "t.csv:4:1: tables.t: the key '1' is there twice; the first is on line 2"),
        ({"file": "t.csv", "key": "no"}, 'no,x\n1,"a\nb"\n2\n', "t.csv:4:1: tables.t: the row has 1 fields, the header 2"),
        ({"file": "t.csv", "key": "noo"}, "\nno,x\n1,a\n", "bridge.yaml:3:38: tables.t.key: there is no column 'noo' in {folder}/t.csv:2; did you mean 'no'?"),
        ({"file": "t.csv", "key": "no", "value": "zz"}, "no,x\n", "bridge.yaml:3:53: tables.t.value: there is no column 'zz' in {folder}/t.csv:1; the columns are no, x"),
        ({"file": "t.csv", "key": "key"}, "key;x\n1;a\n", "bridge.yaml:3:38: tables.t.key: there is no column 'key' in {folder}/t.csv:1; its columns seem to be separated by ';': write delimiter: \";\""),
        ({"file": "t.csv", "key": "no"}, "no,no\n", "t.csv:1:1: tables.t: the column 'no' is there twice"),
        ({"file": "t.csv", "key": "no"}, "\n", "t.csv:1:1: tables.t: the file is empty; the first line of a .csv names its columns"),
        ({"file": "t.csv", "key": "no"}, 'no\n1\n"2\n3\n', "t.csv:3:1: tables.t: this is no CSV: unexpected end of data"),
        ({"file": "t.csv", "key": "no"}, b"no\n\xff\n", "t.csv:2:1: tables.t: the file is not UTF-8 text"),
        ({"file": "t.json"}, '{"a": 1,\n "b": 2,\n\n "a": 3}', "t.json:4:1: tables.t: the key 'a' is there twice; the first is on line 1"),
        ({"file": "t.json", "key": "id"}, '[{"id": 1},\n{"id": "1"}]', "t.json:2:1: tables.t: the key '1' is there twice; the first is on line 1"),
        ({"file": "t.json", "key": "id"}, '[{"id": 1},\n{"ID": 2}]', "t.json:2:1: tables.t: the row has no 'id'"),
        ({"file": "t.json", "key": "id"}, '[{"id": 1},\n{"id": 1.5}]', "t.json:2:1: tables.t: a key is text or a whole number, not a fraction"),
        ({"file": "t.json", "key": "id"}, '[{"id": 1},\n{"id": 2, "x": 1, "x": 2}]', "t.json:2:1: tables.t: the key 'x' is there twice in one row"),
        ({"file": "t.json", "key": "id"}, "[1]", "t.json:1:1: tables.t: a row is a mapping with id, not a number"),
        ({"file": "t.json", "value": "x"}, '{"a": {"y": 1}}', "t.json:1:1: tables.t: the row has no 'x'"),
        ({"file": "t.json"}, "[]", None),
        ({"file": "t.json"}, "[{}]", "t.json:1:1: tables.t: the file is a list; name the field by which a row is found: key: NAME"),
        ({"file": "t.json", "key": "id"}, '{"a": 1}', "t.json:1:1: tables.t: the file is a mapping: its keys are those of the table; leave key: out of the table"),
        ({"file": "t.json"}, '{"a": 1,\n"b": NaN}', "t.json:2:1: tables.t: this is no JSON: invalid character (byte 14)"),
        ({"file": "t.json"}, '{"a":\n"\\ud800aaaaaaa"}', "t.json:2:1: tables.t: this is no JSON: "),
        ({"file": "t.json"}, "7", "t.json:1:1: tables.t: the file is a mapping, not a number; as in {north: 1}"),
        ({"file": "t.json"}, '{"a":' + "[" * 40 + "]" * 40 + "}", "t.json:1:1: tables.t: the row is nested more than 32 deep"),
        ({"file": "t.yaml"}, "a: 1\nb: 2\na: 3\n", "t.yaml:3:1: tables.t: duplicate key 'a'; it stands on line 1, column 1 already"),
        ({"file": "t.yaml"}, "a: &x 1\nb: *x\n", "t.yaml:1:4: tables.t: anchors of YAML are refused"),
        ({"file": "t.yaml"}, "a: [\n", "t.yaml:2:1: tables.t: "),
        ({"file": "t.yaml", "key": "id"}, "- {id: a}\n- {id: a}\n", "t.yaml:2:1: tables.t: the key 'a' is there twice; the first is on line 1"),
        ({"file": "t.yaml"}, "", "t.yaml:1:1: tables.t: the file is a mapping, not empty; as in {north: 1}"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_has_its_line(
    rows: Rows, settings: dict[str, Any], body: str | bytes, mistake: str | None, tmp_path: Path
) -> None:
    """The file, the line, the table, and a remedy where there is one."""
    name = settings["file"].replace(".", "_")
    if mistake is None:
        assert rows(settings, **{name: body}) == {}
        return
    with pytest.raises(ConfigError) as refused:
        rows(settings, **{name: body})
    found = str(refused.value.diagnostics[0]).removeprefix(f"{tmp_path}/")
    assert found.startswith(mistake.replace("{folder}", str(tmp_path)))


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ({}, "tables.t: a table has a file or values; as in {file: customers.csv, key: customer_no}"),
        ({"file": "a.csv", "key": "k", "values": {}}, "tables.t: a table has a file or values"),
        ({"file": "a.txt"}, "tables.t.file: takes a file whose name ends with .csv, .yaml, .yml or .json"),
        ({"file": "a.csv"}, "tables.t: a .csv needs the column by which a row is found; add key: NAME"),
        ({"file": "a.json", "delimiter": ";"}, "tables.t.delimiter: only a .csv has one"),
        ({"file": "a.csv", "key": "k", "delimiter": ";;"}, "tables.t.delimiter: takes one character"),
        ({"values": {"a": 1}, "key": "k"}, "tables.t.key: the rows of values: have their keys; leave it out"),
        ({"values": [1]}, "tables.t.values: takes a mapping, not a list"),
        ({"values": {"a": {"b": 1}}, "value": "c"}, "tables.t['values'].a: the row has no 'c'"),
        ({"file": "none.csv", "key": "k"}, "none.csv cannot be read: No such file or directory"),
        ({"files": "a.csv"}, "unknown key 'files'; did you mean 'file'?"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_settings_has_its_place(rows: Rows, settings: dict[str, Any], mistake: str) -> None:
    """In the words of every other key."""
    with pytest.raises(ConfigError) as refused:
        rows(settings)
    assert mistake.replace("['values']", ".values") in str(refused.value)


def test_a_table_has_a_name_of_letters(tmp_path: Path) -> None:
    """As sources have; a name hides no mistake of another table."""
    path = tmp_path / "bridge.yaml"
    path.write_text(f"{_SOURCE}tables: {{'a b': {{values: {{}}}}, 'c d': {{values: {{}}}}, e: {{}}}}\n")
    with pytest.raises(ConfigError) as refused:
        config.load(path)
    for mistake in ("a table cannot be named 'a b'", "a table cannot be named 'c d'", "tables.e: a table has a file"):
        assert mistake in str(refused.value)


def test_tables_have_bounds(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rows, of bytes, and of bytes in all."""
    text = "no\n" + "".join(f"{number}\n" for number in range(30))
    monkeypatch.setattr(table_files, "MAX_ROWS", 29)
    with pytest.raises(ConfigError, match=r"t\.csv:31:1: tables\.t: the table has more than 29 rows"):
        rows({"file": "t.csv", "key": "no"}, t_csv=text)
    monkeypatch.setattr(table_files, "MAX_ROWS", 30)
    assert len(rows({"file": "t.csv", "key": "no"}, t_csv=text)) == 30
    monkeypatch.setattr(tables, "MAX_ALL_BYTES", len(text) - 1)
    with pytest.raises(ConfigError, match="with this file the tables are larger than 82B"):
        rows({"file": "t.csv", "key": "no"}, t_csv=text)
    monkeypatch.setattr(table_files, "MAX_FILE_BYTES", 80)
    with pytest.raises(ConfigError, match=r"t\.csv is larger than 80B"):
        rows({"file": "t.csv", "key": "no"}, t_csv=text)


def test_all_mistakes_of_a_file_and_of_its_tables_are_found_at_once(tmp_path: Path) -> None:
    """Those of the first twenty rows; a lookup in a faulty table is none besides."""
    (tmp_path / "t.csv").write_text("nr,x\n" + "1\n" * 100)
    path = tmp_path / "bridge.yaml"
    path.write_text(
        "sources: {s: {type: mqtt, url: mqtt://localhost}}\n"
        "tables: {t: {file: t.csv, key: nr}, u: {}}\n"
        'routes: [{from: s, actor: a, arg: 1}, {from: s, actor: b, args: [\'$lookup("t", lookup("u", lookup("v", 1)))\']}]\n'
    )
    with pytest.raises(ConfigError) as refused:
        config.load(path, check=check_routes)
    found = [(Path(each.file).name, each.line, each.message) for each in refused.value.diagnostics]
    assert found[:3] == [
        ("bridge.yaml", 2, "a table has a file or values"),
        ("bridge.yaml", 3, "unknown key 'arg'"),
        ("bridge.yaml", 3, "there is no table 'v'"),
    ]
    assert found[3:5] == [
        ("t.csv", 2, "the row has 1 fields, the header 2"),
        ("t.csv", 3, "the row has 1 fields, the header 2"),
    ]
    assert found[-1] == ("t.csv", 21, "there are more mistakes in this file")


def test_a_file_without_a_name_on_this_machine_is_not_read(tmp_path: Path) -> None:
    """`check --allow-unset` goes on: the table is known and empty."""
    path = tmp_path / "bridge.yaml"
    path.write_text(f"{_SOURCE}tables: {{t: {{file: '${{FILE}}.csv', key: nr}}}}\n")
    loaded = load_with_places(path, Substitution({}, allow_unset=True), check_routes).model
    assert loaded.rows == {"t": {}}


def test_a_step_that_looks_up_a_value_from_outside_is_hidden(tmp_path: Path) -> None:
    """As a step into which `${...}` has put it: with the options, into which steps are written."""
    path = tmp_path / "bridge.yaml"
    path.write_text(
        "sources: {s: {type: mqtt, url: mqtt://localhost}}\n"
        "tables: {t: {values: {hook: '${X}'}}}\n"
        'routes: [{from: s, actor: a, then: [{actor: b, args: [\'$lookup("t", "hook")\']}]}]\n'
    )
    assert config.load(path, environ={"X": "from outside"}).routes[0].hidden == {"options", "then"}
