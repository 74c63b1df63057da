"""The bridge as a service of a machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import yaml

from tests.deploy.real.machine import Machine
from tests.support.children import wait_until

_INSTALL: Final = """
set -e
cd /root/release
V=0.2.0
tar -xf dramatiq_bridge-$V.tar.gz
cd dramatiq_bridge-$V
python3 -m venv /opt/dramatiq-bridge/$V
/opt/dramatiq-bridge/$V/bin/pip install --quiet --require-hashes -r requirements/run.txt
/opt/dramatiq-bridge/$V/bin/pip install --quiet --no-deps ../dramatiq_bridge-$V-py3-none-any.whl
cp docs/deployment.md /opt/dramatiq-bridge/$V/
ln -sfn $V /opt/dramatiq-bridge/current
ln -sf /opt/dramatiq-bridge/current/bin/dramatiq-bridge /usr/local/bin/
install -m 644 deploy/systemd/*.service /etc/systemd/system/
systemctl daemon-reload
"""


def install(machine: Machine) -> None:
    """Install the bridge and its units."""
    machine.do(_INSTALL, timeout=300)


class Service:
    """A unit of the bridge on a machine, with its configuration file."""

    def __init__(self, machine: Machine, unit: str = "dramatiq-bridge", name: str = "bridge") -> None:
        self.machine = machine
        self.unit = unit
        self.path = f"/etc/dramatiq-bridge/{name}.yaml"

    def configure(self, config: str | Mapping[str, Any]) -> None:
        """Write the configuration file."""
        self.machine.write(self.path, config if isinstance(config, str) else yaml.safe_dump(dict(config)))

    def ctl(self, verb: str) -> str:
        """Run a verb of systemctl that must succeed."""
        return self.machine.do(f"systemctl {verb} {self.unit}")

    def show(self, name: str) -> str:
        """Return a property of the unit."""
        return self.machine.do(f"systemctl show --value --property={name} {self.unit}").strip()

    def lines(self) -> list[str]:
        """Return all lines of the journal on this unit, oldest first."""
        return self.machine.do(f"journalctl --unit {self.unit} --output cat --no-pager").splitlines()

    def logs(self, event: str) -> list[dict[str, Any]]:
        """Return the bridge's own lines of this name."""
        found = [json.loads(line) for line in self.lines() if line.startswith("{")]
        return [log for log in found if log.get("event") == event]

    def wait_for(self, name: str, value: str) -> None:
        """Wait until a property of the unit has this value."""
        wait_until(lambda: self.show(name) == value, 60, f"{self.unit}: {name}={value}")
