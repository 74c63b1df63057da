"""`lookup(table, key, fallback)`: values, missing keys, and the mistakes that are found at load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from bridge import config
from bridge.dry_run.runs import DryRun
from bridge.errors import ConfigError
from bridge.model.event import Event
from bridge.routing.compiler import check_routes, compile_routes

_TABLES: Final = {
    "customers": {"values": {"c7": 4711, "8": None, "row": {"zone": "north"}}},
    "zones": {"values": {"north": "N"}},
}


def _load(tmp_path: Path, route: dict[str, Any], tables: dict[str, Any] | None = None, **source: Any) -> config.Config:
    path = tmp_path / "bridge.yaml"
    plant = {"type": "mqtt", "url": "mqtt://localhost", **source}
    routes = [{"from": "plant", "actor": "a", **route}]
    path.write_text(json.dumps({"sources": {"plant": plant}, "tables": tables or _TABLES, "routes": routes}))
    return config.load(path, check=check_routes)


def _run(tmp_path: Path, route: dict[str, Any], payload: object, tables: dict[str, Any] | None = None) -> Any:
    """Return the message's first argument, or the dead letter; None where the route does not fit."""
    event = Event("plant", "t", json.dumps(payload).encode(), 1)
    (result,) = DryRun(_load(tmp_path, route, tables)).run(event, 1).routes
    if result.dead_letter is not None:
        return str(result.dead_letter)
    return result.messages[0]["args"][0] if result.messages else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('lookup("customers", "c7")', 4711),
        ('lookup("customers", payload.c)', 4711),
        ('lookup("customers", 8)', None),
        ('lookup("customers", "8", 1)', None),
        ('lookup("customers", 4 + 4, 1)', None),
        ('lookup("customers", "c9", 0)', 0),
        ('lookup("customers", "c9", payload.c)', "c7"),
        ('lookup("customers", "c7", payload.missing)', 4711),
        ('lookup("customers", "c7", 1 / 0)', 4711),
        ('default(lookup("customers", "c9"), "none")', "none"),
        ('has(lookup("customers", "c9"))', False),
        ('lookup("zones", lookup("customers", "row").zone)', "N"),
        ('f"zone {lookup("zones", "north")}"'.replace('"north"', "'north'").replace('"zones"', "'zones'"), "zone N"),
        ('lookup("customers", "c9")', "missing-field: args.0: no key 'c9' in the table customers in `lookup(\"customers\", \"c9\")`"),
        ('lookup("customers", "c9", payload.missing)', "missing-field: args.0: no field 'missing' in `payload.missing`"),
        ('lookup("customers", payload.missing, 0)', "missing-field: args.0: no field 'missing' in `payload.missing`"),
        ('lookup("customers", payload.no)', 'wrong-type: args.0: lookup() takes a key that is text or a whole number, not null in `lookup("customers", payload.no)`'),
        ('lookup("customers", true, 0)', 'wrong-type: args.0: lookup() takes a key that is text or a whole number, not true or false in `lookup("customers", true, 0)`'),
        ('lookup("customers", 8.0)', 'wrong-type: args.0: lookup() takes a key that is text or a whole number, not a number in `lookup("customers", 8.0)`'),
    ],
)  # fmt: skip
def test_a_value_of_a_table(tmp_path: Path, text: str, expected: object) -> None:
    """A whole number is looked up as its digits; a fallback is evaluated where it is needed."""
    assert _run(tmp_path, {"args": [f"${text}"]}, {"c": "c7", "no": None}) == expected


def test_a_key_that_is_not_there_makes_no_route_fit(tmp_path: Path) -> None:
    """As any missing field in `when`; with a fallback it is compared."""
    route = {"when": 'lookup("customers", payload.c) == 4711', "args": [1]}
    assert _run(tmp_path, route, {"c": "c7"}) == 1
    assert _run(tmp_path, route, {"c": "c9"}) is None
    assert _run(tmp_path, {**route, "when": 'lookup("customers", payload.c, 0) == 0'}, {"c": "c9"}) == 1


def test_a_condition_is_explained_by_the_value_that_was_found(tmp_path: Path) -> None:
    """And by the key that was not."""
    dry_run = DryRun(_load(tmp_path, {"when": 'lookup("customers", payload.c) == 5'}))
    (found,) = dry_run.run(Event("plant", "t", b'{"c": "c7"}', 1), 1).routes
    assert found.why == 'when: `lookup("customers", payload.c) == 5` is false: lookup("customers", payload.c) is 4711'
    (missed,) = dry_run.run(Event("plant", "t", b'{"c": "c9"}', 1), 1).routes
    assert missed.why == "when: `lookup(\"customers\", payload.c)`: no key 'c9' in the table customers"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ('lookup("custmers", payload.c)', "routes[0].args[0]: there is no table 'custmers'; did you mean 'customers'?"),
        ('lookup("x", payload.c)', "routes[0].args[0]: there is no table 'x'; the tables are customers, zones"),
        ("lookup(payload.t, payload.c)", "routes[0].args[0]: the table of lookup() is a constant text"),
        ('lookup("customers")', "routes[0].args[0]: lookup() takes 2 to 3 arguments, not 1"),
        ('default(lookup("no", 1), lookup("neither", 1))', "routes[0].args[0]: there is no table 'no'"),
    ],
)
def test_a_table_is_known_when_the_file_is_loaded(tmp_path: Path, text: str, mistake: str) -> None:
    """With the nearest name, at the place of the name."""
    with pytest.raises(ConfigError) as refused:
        _load(tmp_path, {"args": [f"${text}"]})
    assert mistake in str(refused.value)


def test_a_deduplication_key_may_be_looked_up(tmp_path: Path) -> None:
    """And its table is checked as well."""
    loaded = _load(tmp_path, {}, deduplicate={"key": '$lookup("zones", payload.zone)'})
    event = Event("plant", "t", b"{}", 1)
    deduplication = compile_routes(loaded)[0]["plant"].deduplication
    assert deduplication is not None
    deduplication.mark(event, {"zone": "north"})
    assert event.deduplication_key == b"N"
    with pytest.raises(ConfigError, match=r"sources\.plant\.deduplicate\.key: there is no table 'zone'"):
        _load(tmp_path, {}, deduplicate={"key": '$lookup("zone", payload.zone)'})


def test_what_no_route_looks_up_costs_nothing(tmp_path: Path) -> None:
    """The function of a route without `lookup` is the same code, with and without tables."""
    with_tables = compile_routes(_load(tmp_path, {"args": ["$payload.c"]}))[0]["plant"].routes[0]
    path = tmp_path / "plain.yaml"
    whole = json.loads((tmp_path / "bridge.yaml").read_text())
    del whole["tables"]
    path.write_text(json.dumps(whole))
    without = compile_routes(config.load(path))[0]["plant"].routes[0]
    assert with_tables.run.__code__.co_code == without.run.__code__.co_code
    assert with_tables.run.__code__.co_names == without.run.__code__.co_names
    assert with_tables.is_plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[lookup("customers", c, 0) for c in payload.l]', [4711, 0, None]),
        ('[c for c in payload.l if lookup("customers", c, payload.missing) == 4711]', "missing-field: args.0: no field 'missing' in `payload.missing`, element 1 of `payload.l`"),
        ('({z: lookup("zones", z) for z in ["north"]})', {"north": "N"}),
        ('[lookup("customers", c) for c in payload.l]', "missing-field: args.0: no key 'c9' in the table customers in `lookup(\"customers\", c)`, element 1 of `payload.l`"),
    ],
)  # fmt: skip
def test_a_value_for_each_element_of_a_list(tmp_path: Path, text: str, expected: object) -> None:
    """An error names the element."""
    assert _run(tmp_path, {"args": [f"${text}"]}, {"l": ["c7", "c9", 8]}) == expected


def test_a_lookup_in_a_loop_pays_for_its_key_and_not_for_its_row(tmp_path: Path) -> None:
    """To find a row takes as long as to read its key, however large the row is."""
    tables = {"t": {"values": {"a": {"rows": list(range(10_000)), "x": 1}}}}
    route = {"args": ['$len([1 for c in payload.l if lookup("t", c).x == 1])']}
    assert _run(tmp_path, route, {"l": ["a"] * 2_000}, tables) == 2_000
    long = {"args": ['$[lookup("t", payload.long, 0) for c in payload.l]']}
    assert _run(tmp_path, long, {"l": [1] * 100, "long": "x"}, tables) == [0] * 100
    assert str(_run(tmp_path, long, {"l": [1] * 100, "long": "x" * 100_000}, tables)).startswith("too-large: args.0")
