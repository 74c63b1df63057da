"""`make record-release`: keep this version's wheel, and the state that its bridges leave, for the tests of all later versions.

The folder `tests/deploy/releases/VERSION` is made anew. It holds

    *.whl             the code, byte for byte as users have it
    bridge.yaml       the reference configuration
    manifest.json     the manifest of an application
    spool/            the spool of a bridge that was killed while Redis took no writes
    spooled.json      all keys of its Redis then (with a poison that has ended ten processes)
    written.json      all keys after everything in the spool was written, before the disk had forgotten any of it
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Final

from tests.deploy.code import RELEASES, Code, built, unpacked
from tests.deploy.scenario import Scenario
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.children import REPOSITORY

MANIFEST_MODULE: Final = "tests.app.shapes:broker"


def record(folder: Path) -> None:
    """Fill `folder` with the state of the wheel in it."""
    (wheel,) = folder.glob("*.whl")
    shutil.copy(REPOSITORY / "config" / "bridge.yaml", folder / "bridge.yaml")
    with tempfile.TemporaryDirectory() as made, Redis() as redis, Mosquitto() as mosquitto, RabbitMQ() as rabbitmq:
        code = unpacked(wheel, Path(made, "code"))
        (folder / "manifest.json").write_text(manifest(code))
        scenario = Scenario(Path(made), redis, mosquitto, rabbitmq)
        scenario.leave(code)
        scenario.leave_suspect(code)
        shutil.copytree(scenario.spool, folder / "spool")
        _write(folder / "spooled.json", scenario)
        scenario.leave_written(code)
        _write(folder / "written.json", scenario)


def manifest(code: Code) -> str:
    """Return the manifest of an application as `code` writes it."""
    with_application = {**code.env, "PYTHONPATH": f"{code.env.get('PYTHONPATH', REPOSITORY)}:{REPOSITORY}"}
    done = code.run("actors", MANIFEST_MODULE, env=with_application)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _write(path: Path, scenario: Scenario) -> None:
    path.write_text(json.dumps(scenario.keys(), indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    """Record this version."""
    folder = RELEASES / Code().version()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    built(REPOSITORY, folder)
    record(folder)
    print(f"{folder.relative_to(REPOSITORY)}: {sum(path.stat().st_size for path in folder.rglob('*'))} bytes")  # noqa: T201 - a program


if __name__ == "__main__":
    main()
