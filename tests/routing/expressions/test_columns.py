"""The columns of a table are known at load, so a wrong one is a mistake of the file, and no event that never fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from bridge import config
from bridge.errors import ConfigError
from bridge.routing.compiler import check_routes

_TABLES: Final[dict[str, Any]] = {
    "d": {"file": "d.csv", "key": "device"},
    "limits": {"file": "d.csv", "key": "device", "value": "limit"},
    "empty": {"file": "empty.csv", "key": "device"},
    "rows": {"values": {"a": {"zone": "N", "depot": 1}, "b": {"depot": 2, "zone": "S"}}},
    "mixed": {"values": {"a": {"zone": "N"}, "b": {"zone": "S", "depot": 1}, "c": None}},
    "numbers": {"values": {"a": 1, "b": 2}},
}


def _load(tmp_path: Path, route: dict[str, Any], **source: Any) -> config.Config:
    (tmp_path / "d.csv").write_text("device,limit\np1,5\n")
    (tmp_path / "empty.csv").write_text("device,limit\n")
    path = tmp_path / "bridge.yaml"
    plant = {"type": "mqtt", "url": "mqtt://localhost", **source}
    routes = [{"from": "plant", "actor": "a", **route}]
    path.write_text(json.dumps({"sources": {"plant": plant}, "tables": _TABLES, "routes": routes}))
    return config.load(path, check=check_routes)


@pytest.mark.parametrize(
    ("when", "mistake"),
    [
        ('payload.v > float(lookup("d", payload.d).limt)', "there is no column 'limt' in the table d; did you mean 'limit'?"),
        ('lookup("d", payload.d)["Limit"] == "5"', "there is no column 'Limit' in the table d; did you mean 'limit'?"),
        ('default(lookup("d", payload.d), {"limit": "9"}).limt == "5"', "there is no column 'limt'"),
        ('has(lookup("d", payload.d).zone)', "there is no column 'zone' in the table d; it has device, limit"),
        ('any(lookup("d", x).limt == "5" for x in payload.l)', "there is no column 'limt'"),
        ('lookup("limits", payload.d).limit == "5"', "the values of the table limits have no fields; write lookup('limits', key) alone"),
        ('lookup("numbers", payload.d).limit == 5', "the values of the table numbers have no fields"),
        ('lookup("rows", payload.d, {}).zon == "N"', "no row has a field 'zon' in the table rows; did you mean 'zone'?"),
    ],
)  # fmt: skip
def test_a_column_that_no_row_has_is_a_mistake(tmp_path: Path, when: str, mistake: str) -> None:
    """In every expression, with the nearest name."""
    expected = ["routes[0].when", "routes[0].args[0]", "sources.plant.deduplicate.key"]
    for route, source in (
        ({"when": when}, {}),
        ({"args": [f"${when}"]}, {}),
        ({}, {"deduplicate": {"key": f"${when}"}}),
    ):
        with pytest.raises(ConfigError) as refused:
            _load(tmp_path, route, **source)
        assert f"{expected.pop(0)}: {mistake}" in str(refused.value)


@pytest.mark.parametrize(
    "when",
    [
        'lookup("d", payload.d).limit == lookup("d", payload.d).device',
        'lookup("empty", payload.d).anything == 5',
        'lookup("mixed", payload.d).other == 5',
        'lookup("mixed", payload.d).zone.of.a.house == 5',
        'has(lookup("rows", payload.d).since)',
        'default(lookup("rows", payload.d).since, 0) == 5 and catch(lookup("rows", payload.d).since, 0) == 0',
        'lookup("rows", payload.d, payload).zone.since == 5',
    ],
)
def test_a_column_that_a_row_may_have_is_none(tmp_path: Path, when: str) -> None:
    """Rows with several shapes may get the field with the next reload, and so may those that an expression does without."""
    _load(tmp_path, {"when": when})
