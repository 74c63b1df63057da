"""The oldest libraries that pyproject.toml allows, in an environment of their own beside Dramatiq 1.17.

`make test` makes both environments. This one has the newest of each library and Dramatiq 2; .venv-oldest has those of
requirements/oldest.in, where an application that is not yet on Dramatiq 2 has the bridge for its own tests.
"""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Final

import pytest

from tests.support.children import REPOSITORY

OLDEST: Final = REPOSITORY / ".venv-oldest/bin/python"
#: Those that use a library in a way that another release could change.
SEAMS: Final = (
    "tests/redis_io/test_connection.py",
    "tests/sources/amqp/test_library.py",
    "tests/sources/mqtt/test_paho_client.py",
    # cbor2 6.0.0 makes other types of maps within lists.
    "tests/routing/test_redaction.py",
    # The words of its errors.
    "tests/routing/test_validation.py",
)
#: A real worker runs what each source brings, on both read paths.
END_TO_END: Final = ("tests/sources/test_contract.py", "-k", "a_thousand_events_are_a_thousand_executions")
#: Its server with streams, and its client of Prometheus, on every path but the long ones.
ADMIN: Final = (
    *(f"tests/admin/test_{name}.py" for name in ("server", "streams", "metrics", "hostile")),
    *("-k", "not ten_thousand"),
)
#: The plugin, and a manifest of an application.
APPLICATIONS: Final = ("tests/testing", "tests/manifest")


@pytest.fixture
def oldest() -> Path:
    """The Python of the environment."""
    if not OLDEST.exists():
        reason = ".venv-oldest is missing (`make test` makes it)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return OLDEST


@pytest.mark.parametrize(
    "tests", [SEAMS, END_TO_END, ADMIN, APPLICATIONS], ids=["seams", "sources", "admin", "applications"]
)
def test_with_the_oldest_libraries(tests: tuple[str, ...], oldest: Path) -> None:
    """The same tests pass there."""
    command = [str(oldest), "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "COVERAGE_"))}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    assert re.search(r"^([5-9]|\d{2,}) passed", done.stdout, re.MULTILINE), done.stdout


def test_it_is_dramatiq_1(oldest: Path) -> None:
    """Otherwise the test above shows nothing."""
    program = "from importlib.metadata import version as v; print(v('dramatiq'), v('redis'), v('dramatiq-bridge'))"
    done = subprocess.run([oldest, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    dramatiq, redis, _ = done.stdout.split()
    assert (dramatiq.split(".")[:2], redis) == (["1", "17"], "5.0.8")


def test_the_oldest_are_the_bounds() -> None:
    """What pyproject.toml allows has been tried."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = dict(re.match(r"([a-z0-9-]+)(?:\[\w+\])?>=([\d.]+)", each).groups() for each in project["dependencies"])  # type: ignore[union-attr, misc]
    tried = re.findall(
        r"^([a-z0-9-]+)(?:\[\w+\])?[>=]=([\d.]+)$", (REPOSITORY / "requirements/oldest.in").read_text(), re.MULTILINE
    )
    padded = {name: _padded(version) for name, version in tried if name in bounds}
    assert padded == {name: _padded(version) for name, version in bounds.items()}


def _padded(version: str) -> list[int]:
    return ([int(part) for part in version.split(".")] + [0, 0])[:3]
