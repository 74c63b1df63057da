"""The remedy for a value of the wrong type: it leads to a value that is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config import load
from bridge.errors import ConfigError


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("otherwise: 'yes'", "write true"),
        ("otherwise: 'Off'", "write false"),
        ("otherwise: 'true'", "write it without quotes"),
        ("otherwise: maybe", ""),
        ("expires: 1d", ""),
        ("foreach_limit: many", ""),
        ("foreach_limit: '0o17'", ""),
        ("foreach_limit: '017'", ""),
        ("foreach_limit: '17'", "write it without quotes"),
    ],
)
def test_the_remedy_for_text_is_no_circle(tmp_path: Path, key: str, remedy: str) -> None:
    """Quotes are named only where they stand, and only if the value is right without them."""
    path = tmp_path / "bridge.yaml"
    path.write_text(f"sources: {{s: {{type: mqtt, url: mqtt://localhost}}}}\nroutes: [{{from: s, actor: a, {key}}}]\n")
    with pytest.raises(ConfigError) as refused:
        load(path)
    (mistake,) = refused.value.diagnostics
    assert mistake.hint == remedy
