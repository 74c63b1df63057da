"""The units of systemd, as files; tests/deploy/real/ runs them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from bridge import cli
from bridge.commands import daemon
from bridge.commands.arguments import command_line
from bridge.config import AdminSettings, Config
from bridge.process.ending import LEAVE_S, LEAVE_WITH_CHILDREN_S
from tests.support.children import REPOSITORY

FOLDER: Final = REPOSITORY / "deploy" / "systemd"
PLAIN: Final = FOLDER / "dramatiq-bridge.service"
TEMPLATE: Final = FOLDER / "dramatiq-bridge@.service"
UNITS: Final = pytest.mark.parametrize("unit", [PLAIN, TEMPLATE], ids=lambda path: path.name)

#: How each part of the plain unit that names the bridge stands in the template; all other lines are the same.
INSTANCE: Final = {
    "Description=dramatiq-bridge:": "Description=dramatiq-bridge %i:",
    "unix:/run/dramatiq-bridge/": "unix:/run/dramatiq-bridge-%i/",
    "/etc/dramatiq-bridge/bridge.yaml": "/etc/dramatiq-bridge/%i.yaml",
    "User=dramatiq-bridge": "User=bridge-%i",
    "StateDirectory=dramatiq-bridge": "StateDirectory=dramatiq-bridge-%i",
    "RuntimeDirectory=dramatiq-bridge": "RuntimeDirectory=dramatiq-bridge-%i",
    "WorkingDirectory=%S/dramatiq-bridge": "WorkingDirectory=%S/dramatiq-bridge-%i",
}
#: Exposure 1.1 is these restrictions; `systemd-analyze security`, which counts it, is not everywhere.
RESTRICTIONS: Final = {
    **dict.fromkeys(("LockPersonality", "MemoryDenyWriteExecute", "NoNewPrivileges", "DynamicUser"), "yes"),
    **dict.fromkeys(("PrivateDevices", "PrivateMounts", "PrivateTmp", "PrivateUsers", "RemoveIPC"), "yes"),
    **dict.fromkeys(("ProtectClock", "ProtectControlGroups", "ProtectHome", "ProtectHostname"), "yes"),
    **dict.fromkeys(("ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables"), "yes"),
    **dict.fromkeys(("RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID"), "yes"),
    "CapabilityBoundingSet": "",
    "ProcSubset": "pid",
    "ProtectProc": "invisible",
    "ProtectSystem": "strict",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "SystemCallArchitectures": "native",
    "SystemCallFilter": "@system-service ~@privileged @resources",
    "UMask": "0077",
}


def settings(unit: Path) -> dict[str, str]:
    """Return the unit's settings; a blank is between the values of one that is repeated."""
    found: dict[str, str] = {}
    for line in unit.read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            found[key] = f"{found[key]} {value}" if key in found else value
    return found


def seconds(text: str) -> float:
    """Return a time in seconds; the units have no other."""
    assert re.fullmatch(r"\d+", text)
    return float(text)


def test_the_template_is_the_unit_for_an_instance() -> None:
    """The two files differ in the names of the instance alone, and in comments."""
    plain, template = (
        [line for line in unit.read_text().splitlines() if not line.startswith("#")] for unit in (PLAIN, TEMPLATE)
    )
    for part, instead in INSTANCE.items():
        assert any(part in line for line in plain)
        plain = [line.replace(part, instead) for line in plain]
    assert template == plain


@UNITS
def test_the_unit_keeps_its_restrictions(unit: Path) -> None:
    """Each one stands in it, with the value that was tried."""
    assert {key: settings(unit).get(key) for key in RESTRICTIONS} == RESTRICTIONS


@UNITS
def test_no_restart_repeats_what_it_cannot_correct(unit: Path, tmp_path: Path) -> None:
    """The exit codes of a wrong file and of a wrong command line prevent one; that of a failure does not."""
    wrong = tmp_path / "bridge.yaml"
    wrong.write_text("routes: 7\n")
    final = {str(cli.main(["run", str(wrong)])), str(cli.main(["run", "--admin", "x", str(wrong)]))}
    assert set(settings(unit)["RestartPreventExitStatus"].split()) == final
    assert settings(unit)["Restart"] == "on-failure"
    assert "ExecStartPre" not in settings(unit)


@UNITS
def test_a_stop_has_enough_time(unit: Path) -> None:
    """The service manager waits longer than the bridge may take with the defaults."""
    drain_s = Config.model_fields["drain_timeout"].default / 1000
    assert seconds(settings(unit)["TimeoutStopSec"]) > drain_s + max(LEAVE_S, LEAVE_WITH_CHILDREN_S)
    assert settings(unit)["KillMode"] == "mixed"


@UNITS
def test_the_service_manager_is_kept_informed(unit: Path) -> None:
    """It waits for READY=1 of the main process, and watches it."""
    found = settings(unit)
    assert (found["Type"], found["NotifyAccess"]) == ("notify", "main")
    assert seconds(found["WatchdogSec"]) > 0


@UNITS
def test_the_commands_are_those_of_the_program(unit: Path) -> None:
    """ExecReload finds the socket on which ExecStart listens, in the unit's own folder, and waits for the result."""
    found = {key: value.replace("%i", "plant") for key, value in settings(unit).items()}
    program, *start = found["ExecStart"].split()
    reloading, *reload = found["ExecReload"].split()
    assert program == reloading == "/opt/dramatiq-bridge/current/bin/dramatiq-bridge"
    run, order = command_line().parse_args(start), command_line().parse_args(reload)
    assert (run.command, order.command, order.wait) == ("run", "reload", True)
    assert run.admin == order.admin == f"unix:/run/{found['RuntimeDirectory']}/admin.sock"
    AdminSettings.model_validate({"listen": run.admin})


def test_commands_without_an_address_find_the_unit() -> None:
    """`dramatiq-bridge status` looks where the unit listens."""
    assert f"unix:{daemon._SERVICE}" in settings(PLAIN)["ExecStart"].split()
