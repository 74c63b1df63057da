"""`include:`: several files are one configuration, and every mistake is placed in its own file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from bridge.config import Config, inclusion, load, patterns
from bridge.config.loading import load_with_places
from bridge.config.substitution import Substitution
from bridge.errors import ConfigError
from bridge.routing.compiler import check_routes

MAIN: Final = """\
include: [routes/*.yaml]
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
  - {from: plant, actor: first}
"""
Files = Callable[..., None]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """Write files, and work in their folder."""
    monkeypatch.chdir(tmp_path)

    def write(main: str = MAIN, **texts: str) -> None:
        Path("bridge.yaml").write_text(main)
        Path("routes").mkdir(exist_ok=True)
        for name, text in texts.items():
            Path(f"routes/{name}.yaml").write_text(text)

    return write


def said(path: str = "bridge.yaml", *, lines: bool = False) -> list[str]:
    """Return each mistake of a load, on one line unless its line of the file is asked for."""
    with pytest.raises(ConfigError) as caught:
        load(path, environ={}, check=check_routes)
    return [str(each) if lines else str(each).partition("\n")[0] for each in caught.value.diagnostics]


def actors(config: Config) -> list[str]:
    """Return the actors of the routes, in their order."""
    return [route.actor for route in config.routes]


def test_sections_are_merged_in_the_order_of_the_names(files: Files) -> None:
    """Lists are appended behind those of the file itself, mappings are joined."""
    files(
        b="routes: [{from: second, actor: b}]\nsources: {second: {type: mqtt, url: mqtt://b}}\n",
        a="routes: [{from: plant, actor: a1}, {from: second, actor: a2}]\n",
        c="tests: [{name: t, event: {from: second, payload: 1}, expect: []}]\n",
    )
    config = load("bridge.yaml", environ={})
    assert actors(config) == ["first", "a1", "a2", "b"]
    assert list(config.sources) == ["plant", "second"]
    assert [case.name for case in config.tests] == ["t"]


def test_the_file_itself_may_hold_no_source_and_no_route(files: Files) -> None:
    """All of them may be in the files that it includes."""
    files("include: [routes/*.yaml]\n", a="sources: {s: {type: mqtt, url: mqtt://b}}\nroutes: [{from: s, actor: a}]\n")
    assert actors(load("bridge.yaml", environ={})) == ["a"]
    files("include: [routes/*.yaml]\n", a="routes: [{from: s, actor: a}]\n")
    assert said() == [
        "bridge.yaml:1:1: the key 'sources' is missing; add sources: where events come from, by names of your own"
    ]


def test_every_mistake_is_placed_in_its_own_file(files: Files) -> None:
    """With the path and the line that the file has, and in the order of the files: syntax, models, references, expressions."""
    files(
        a="routes:\n  - {from: plant, actor: a, args: [no]}\n  - {from: plant, actr: a}\n",
        b="# b\nroutes:\n  - {from: plnt, actor: b}\n  - {from: plant, actor: b, args: [$paylod]}\n",
    )
    assert said(lines=True) == [
        """\
routes/a.yaml:2:36: routes[0].args[0]: unquoted yes, no, on and off are booleans in some YAML; quote it, or write true or false
      - {from: plant, actor: a, args: [no]}
                                       ^""",
        """\
routes/a.yaml:3:5: routes[1]: the key 'actor' is missing; add actor: actor to call
      - {from: plant, actr: a}
        ^""",
        """\
routes/a.yaml:3:19: routes[1].actr: unknown key 'actr'; did you mean 'actor'?
      - {from: plant, actr: a}
                      ^""",
        """\
routes/b.yaml:3:12: routes[0].from: no source is named 'plnt'; did you mean 'plant'?
      - {from: plnt, actor: b}
               ^""",
        """\
routes/b.yaml:4:37: routes[1].args[0]: there is no name 'paylod'; did you mean 'payload'?
      - {from: plant, actor: b, args: [$paylod]}
                                        ^""",
    ]


def test_syntax_that_cannot_be_read_is_placed_in_its_own_file(files: Files) -> None:
    """Those of two files are found in one go, and no mistake that only follows from them."""
    files(a="routes: [a b: c\n", b="sources:\n  x: '1\n", c="routes: [{from: x, actor: c}]\n")
    assert said() == [
        "routes/a.yaml:1:9: this list is not closed, or an item is not separated by a comma; quote an item that holds brackets, such as an expression",
        "routes/b.yaml:2:6: this quote is not closed",
    ]


def test_a_name_twice_names_both_places(files: Files) -> None:
    """Of a source and of a route; also where the earlier one is in an included file."""
    files(
        a="sources:\n  plant: {type: mqtt, url: mqtt://a}\n  two: {type: mqtt, url: mqtt://a}\n",
        b="sources:\n  two: {type: mqtt, url: mqtt://a}\nroutes:\n  - {name: r, from: two, actor: b}\n",
        c="routes:\n  - {name: r, from: two, actor: b}\n  - {name: r, from: two, actor: b}\n",
    )
    assert said() == [
        "routes/a.yaml:2:3: sources.plant: the name 'plant' is taken; bridge.yaml:3:3 has it",
        "routes/b.yaml:2:3: sources.two: the name 'two' is taken; routes/a.yaml:3:3 has it",
        "routes/c.yaml:2:12: routes[0].name: the name 'r' is taken; routes[0] (routes/b.yaml:4) has it",
        "routes/c.yaml:3:12: routes[1].name: the name 'r' is taken; routes[0] (routes/b.yaml:4) has it",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "include: [x.yaml]\n",
            "1:1: include: 'include' cannot stand in an included file; {has}; all else is for bridge.yaml",
        ),
        (
            "dramatiq: {}\n",
            "1:1: dramatiq: 'dramatiq' cannot stand in an included file; {has}; all else is for bridge.yaml",
        ),
        ("# later\n", "1:1: the file is empty; {has}; remove it, or write routes: []"),
        ("- {from: plant, actor: a}\n", "1:1: takes a mapping, not a list; {has}"),
        ("routes: {}\n", "1:9: routes: takes a list, not a mapping"),
        ("sources: []\n", "1:10: sources: takes a mapping, not a list"),
        ("routes:\n", "1:8: routes: takes a list, not null"),
    ],
)
def test_an_included_file_has_sections_and_nothing_else(files: Files, text: str, expected: str) -> None:
    """One that is empty may be half written: its routes would be gone without a word."""
    files(a=text)
    has = "an included file has routes, sources, tables and tests"
    assert said() == [f"routes/a.yaml:{expected.format(has=has)}"]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ("rotes/*.yaml", "1:10: include: takes a list, not text; as in [routes/*.yaml]"),
        ("[rotes/*.yaml]", "1:11: include[0]: no file is found by 'rotes/*.yaml' in {folder}; a path begins at the folder of this file"),
        ("[/nowhere/a.yaml]", "1:11: include[0]: no file is found by '/nowhere/a.yaml'"),
        ("[bridge.yaml]", "1:11: include[0]: 'bridge.yaml' finds this file, which cannot include itself"),
        ("[bridge_test.yaml]", "1:11: include[0]: 'bridge_test.yaml' finds only tests, as those of NAME.yaml in NAME_test.yaml; test and check read it with the file that it tests"),
        ("[1]", "1:11: include[0]: takes text, not a number"),
        ("[routes/**/a.yaml]", "1:11: include[0]: takes a pattern without **; write one * for each folder, as in teams/*/routes.yaml"),
        ("[routes/*]", "1:11: include[0]: takes a path or a pattern that ends with .yaml, .yml or .json; as in routes/*.yaml: so no backup that an editor leaves there is read"),
        ("[folder.yaml]", "1:11: include[0]: the file {folder}/folder.yaml cannot be read: Is a directory"),
        ("[pipe.yaml]", "1:11: include[0]: the file {folder}/pipe.yaml cannot be read: it is not a file"),
        ("[large.yaml]", "1:11: include[0]: the file {folder}/large.yaml is larger than 1MiB"),
        ("[dangling.yaml]", "1:11: include[0]: the file {folder}/dangling.yaml cannot be read: No such file or directory"),
        ("['${UNSET}.yaml']", "1:12: include[0]: the environment variable UNSET is not set; set it, or write ${UNSET:-fallback}"),
    ],
)  # fmt: skip
def test_a_pattern_that_cannot_be_used_is_explained(files: Files, patterns: str, expected: str) -> None:
    """One that finds no file is a mistake; a file is named with its folder."""
    files(f"include: {patterns}\nsources: {{s: {{type: mqtt, url: mqtt://localhost}}}}\n")
    Path("folder.yaml").mkdir()
    os.mkfifo("pipe.yaml")
    Path("large.yaml").write_text("#" * ((1 << 20) + 1))
    Path("dangling.yaml").symlink_to("nowhere")
    Path("bridge_test.yaml").touch()
    assert said() == [f"bridge.yaml:{expected.replace('{folder}', str(Path.cwd()))}"]


def test_a_folder_that_is_hidden_from_the_user_is_no_empty_one(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files would be left out without a word."""
    files()

    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refused)
    assert said() == [
        f"bridge.yaml:1:11: include[0]: this pattern finds {Path.cwd()}/routes, which cannot be read: Permission denied"
    ]


def test_the_number_and_the_size_of_the_files_are_bounded(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """So are the values in them, and the names that a pattern looks at."""
    files(**{f"r{number}": f"routes: [{{from: plant, actor: a{number}}}]\n" for number in range(6)})
    assert len(load("bridge.yaml", environ={}).routes) == 7
    bounds = [
        (patterns, "MAX_FILES", 5, "include[0]: this pattern finds more than 5 files"),
        (patterns, "_MAX_NAMES", 5, "include[0]: this pattern looks at more than 5 names"),
        (inclusion, "MAX_FILES", 5, "include: more than 5 files are found"),
        (inclusion, "MAX_INCLUDED_BYTES", 100, "include: the files are larger than 100B together"),
        (inclusion, "MAX_VALUES", 20, "include: the files hold more than 20 values together"),
    ]
    for module, name, bound, words in bounds:
        with monkeypatch.context() as patched:
            patched.setattr(module, name, bound)
            (mistake,) = said()
            assert words in mistake


def test_a_backup_a_lock_and_a_volumes_own_names_are_no_harm(files: Files) -> None:
    """Editors leave them beside a file, and a kubelet leaves `..data`; a file that is found twice is read once."""
    files(
        "include: [routes/*.yaml, '*/a.yaml', routes/a.yaml, '*.yaml']\nsources: {plant: {type: mqtt, url: mqtt://localhost}}\n"
    )
    Path("more.yaml").write_text("routes: [{from: plant, actor: more}]\n")
    Path("routes/..data").mkdir()
    Path("routes/..data/a.yaml").write_text("routes: [{from: plant, actor: a}]\n")
    Path("routes/a.yaml").symlink_to("..data/a.yaml")
    Path("routes/same.yaml").symlink_to("a.yaml")
    for name in (".a.yaml.swp", "a.yaml~", "#a.yaml#", ".hidden.yaml", "a.yaml.bak"):
        Path("routes", name).write_text("rubbish: [")
    Path("routes/.#a.yaml").symlink_to("user@host.1234:1700000000")
    assert actors(load("bridge.yaml", environ={})) == ["a", "more"]


def test_a_file_of_tests_beside_an_included_file_is_no_part(files: Files) -> None:
    """`test` and `check` read it as one of tests; without its NAME.yaml it is a file like others."""
    files(a="routes: [{from: plant, actor: a}]\n", a_test="- {name: t}\n", _test="routes: []\n", x_test="routes: []\n")
    Path("bridge_test.yaml").write_text("- {name: t}\n")
    document = load_with_places("bridge.yaml", Substitution({})).document
    assert [part.file for part in document.parts] == [
        "bridge.yaml",
        "routes/_test.yaml",
        "routes/a.yaml",
        "routes/x_test.yaml",
    ]


def test_a_folder_with_signs_of_patterns_in_its_name_is_a_folder(tmp_path: Path) -> None:
    """Only the pattern is one; and the main file may be given by any path."""
    folder = tmp_path / "a[b]*"
    (folder / "routes").mkdir(parents=True)
    (folder / "bridge.yaml").write_text(MAIN)
    (folder / "routes/a.yaml").write_text("routes: [{from: plant, actor: a}]\n")
    assert actors(load(folder / "bridge.yaml", environ={})) == ["first", "a"]


def test_substitution_and_secrets_are_the_same_in_an_included_file(files: Files) -> None:
    """A value from outside is text in an expression, and no password is shown; also in the patterns."""
    files(
        "include: ['${ROUTES:-routes}/*.yaml']\nsources: {plant: {type: mqtt, url: mqtt://localhost}}\n",
        a="sources: {s: {type: mqtt, url: 'mqtt://u:hunter2@h', password: hunter3, qos: 7}}\n",
    )
    (mistake,) = (each for each in said(lines=True) if "qos" in each.partition("\n")[0])
    assert "hunter" not in mistake
    Path("routes/a.yaml").write_text(
        "routes: [{from: plant, actor: a, name: r, when: 'payload.a == ${A}', args: ['${B}']}]\n"
    )
    config = load("bridge.yaml", environ={"A": "12345", "B": "$payload"})
    assert config.routes[0].args == ["$$payload"]
    assert config.origin.masked_conditions == {"r": "payload.a == ***"}


def test_the_fingerprint_is_of_all_files(files: Files) -> None:
    """The number by which a command sees that a bridge has loaded another text; of one file, it stays that of its text."""
    texts = ["routes: [{from: plant, actor: a}]\n", "routes: [{from: plant, actor: b}]\n"]
    fingerprints = []
    for text in (*texts, texts[0]):
        files(a=text)
        fingerprints.append(load("bridge.yaml", environ={}).origin.fingerprint)
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]
