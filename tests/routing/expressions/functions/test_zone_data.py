"""Where the zones come from on a machine without the package `tzdata`."""

from __future__ import annotations

import sys
import zoneinfo
from collections.abc import Iterator
from datetime import UTC
from importlib.resources import files
from pathlib import Path

import pytest

from bridge.routing.expressions import zones
from tests.support.evaluation import evaluate, refusal


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the empty folder of the system's zones, on a machine without the package, and in a bridge that has loaded none."""
    monkeypatch.setitem(sys.modules, "tzdata", None)
    monkeypatch.setattr(zones, "_loaded", {"UTC": UTC})
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(to=[tmp_path])
    zoneinfo.ZoneInfo.clear_cache()
    zones.names.cache_clear()
    zones.load_all.cache_clear()
    yield tmp_path
    zoneinfo.reset_tzpath(to=before)
    zones.names.cache_clear()
    zones.load_all.cache_clear()


_BERLIN = files("tzdata").joinpath("zoneinfo/Europe/Berlin").read_bytes()


def test_the_zones_of_the_system_serve(system: Path) -> None:
    """A name that they do not have is refused, and the nearest one of them proposed."""
    (system / "Europe").mkdir()
    (system / "Europe/Berlin").write_bytes(_BERLIN)
    assert evaluate('format_time(0, "%H:%M", "Europe/Berlin")') == "01:00"
    assert evaluate('format_time(0, "%H:%M", payload)', "Europe/Berlin") == "01:00"
    assert "did you mean 'Europe/Berlin'?" in refusal('weekday(0, "Europe/Berln")').message


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("zone", ['"Europe/Berlin"', "payload.zone"])
def test_without_any_zone_the_package_is_named(zone: str) -> None:
    """For a zone that is written out, and for one that an event would give; a fixed offset needs no package."""
    assert "no time zone is on this machine; pip install tzdata" in refusal(f"weekday(0, {zone})").message
    assert evaluate('format_time(0, "%H:%M", "+02:00")') == "02:00"
    assert evaluate('format_time(0, "%H:%M", "UTC")') == "00:00"
