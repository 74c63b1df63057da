"""The pytest plugin: the fixture `dramatiq_bridge`. Every session of an application imports this, so it imports nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bridge.testing import Bridge


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting."""
    parser.addini("dramatiq_bridge_config", "the bridge's configuration, from pytest's root", default="bridge.yaml")


@pytest.fixture(scope="session")
def dramatiq_bridge(pytestconfig: pytest.Config) -> Bridge:
    """The routes of the file that `dramatiq_bridge_config` names, bridge.yaml if there is none."""
    from bridge.testing import Bridge  # noqa: PLC0415 - see above

    return Bridge(pytestconfig.rootpath / str(pytestconfig.getini("dramatiq_bridge_config")))
