"""The bridge as a service of a machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from subprocess import CompletedProcess
from typing import Any, Final

import yaml

from tests.deploy.real.machine import Machine
from tests.support.children import REPOSITORY, wait_until

_DOCUMENT: Final = REPOSITORY / "docs" / "deployment.md"


def example(heading: str, kind: str) -> str:
    """Return the first example of a kind below a heading of docs/deployment.md."""
    section = _DOCUMENT.read_text().partition(f"\n### {heading}\n")[2].partition("\n### ")[0]
    return section.partition(f"```{kind}\n")[2].partition("```")[0]


def commands(heading: str) -> str:
    """Return the commands of the first console below a heading, as a script."""
    lines = example(heading, "console").splitlines()
    return "\n".join(["set -e", *(line.removeprefix("# ") for line in lines)])


def install(machine: Machine) -> None:
    """Install the bridge and its units, as the documentation says."""
    machine.do(f"cd /root/release\n{commands('Install')}", timeout=300)


class Service:
    """A unit of the bridge on a machine, with its configuration file."""

    def __init__(self, machine: Machine, instance: str = "") -> None:
        self.machine = machine
        self.unit = f"dramatiq-bridge@{instance}.service" if instance else "dramatiq-bridge.service"
        self.name = f"dramatiq-bridge-{instance}" if instance else "dramatiq-bridge"
        self.path = f"/etc/dramatiq-bridge/{instance or 'bridge'}.yaml"

    def reset(self) -> None:
        """Stop all units of the bridge, and remove their files and journal."""
        self.machine.do(
            """
            systemctl stop 'dramatiq-bridge*.service'
            systemctl reset-failed
            rm -rf /etc/dramatiq-bridge /var/lib/dramatiq-bridge* /var/lib/private/* /etc/systemd/system/dramatiq-bridge*.service.d
            systemctl daemon-reload
            journalctl --quiet --rotate --vacuum-time=1us
            """
        )

    def configure(self, config: str | Mapping[str, Any]) -> None:
        """Write the configuration file."""
        self.machine.write(self.path, config if isinstance(config, str) else yaml.safe_dump(dict(config)))

    def drop_in(self, text: str) -> None:
        """Add lines to the unit, as `systemctl edit` does."""
        self.machine.write(f"/etc/systemd/system/{self.unit}.d/test.conf", text)
        self.machine.do("systemctl daemon-reload")

    def try_to(self, verb: str) -> CompletedProcess[str]:
        """Run a verb of systemctl, and return it with its exit code and output."""
        return self.machine.run(f"systemctl {verb} {self.unit}")

    def ctl(self, verb: str) -> None:
        """Run a verb of systemctl that must succeed."""
        done = self.try_to(verb)
        assert done.returncode == 0, f"{verb}: {done.stdout}\n{self.tail()}"

    def show(self, name: str) -> str:
        """Return a property of the unit."""
        return self.machine.do(f"systemctl show --value --property={name} {self.unit}").strip()

    def wait_for(self, name: str, value: str) -> None:
        """Wait until a property of the unit has this value."""
        try:
            wait_until(lambda: self.show(name) == value, 60, f"{self.unit}: {name}={value}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None

    def wait_for_log(self, event: str, times: int = 1) -> list[dict[str, Any]]:
        """Wait until the bridge has logged so many lines of this name, and return them."""
        try:
            wait_until(lambda: len(self.logs(event)) >= times, 60, event)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None
        return self.logs(event)

    def processes(self) -> list[int]:
        """Return the pids of the child processes, as the machine numbers them."""
        children = self.machine.do(f"cat /proc/{self.show('MainPID')}/task/*/children")
        return [int(pid) for pid in children.split()]

    def journal(self) -> list[str]:
        """Return all lines of the journal on this unit, oldest first."""
        return self.machine.do(f"journalctl --unit {self.unit} --output cat --no-pager").splitlines()

    def tail(self) -> str:
        """Return the end of the journal."""
        return "\n".join(self.journal()[-40:])

    def logs(self, event: str) -> list[dict[str, Any]]:
        """Return the bridge's own lines of this name."""
        found = [json.loads(line) for line in self.journal() if line.startswith("{")]
        return [log for log in found if log.get("event") == event]
