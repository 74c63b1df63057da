"""Files and sockets that the system hides from a user: an error in words, and the exit code that says whose mistake it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.commands import daemon
from tests.commands.conftest import Terminal


@contextmanager
def _ordinary_user(folder: Path) -> Iterator[None]:
    """Act as somebody from whom `folder` is hidden."""
    folder.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read everything
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o700)


def test_a_configuration_in_a_folder_that_is_hidden(run: Terminal, path: Path) -> None:
    """It is wrong (78), as a file that may not be read is: systemd restarts nothing."""
    run("check", str(path))
    with _ordinary_user(path.parent):
        run("run", str(path), code=78)
    assert f"{path}:1:1: cannot be read: Permission denied" in run.err


def test_a_socket_of_the_service_that_is_hidden(run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service runs, and the error says who may ask it."""
    (tmp_path / "private").mkdir()
    service = tmp_path / "private" / "admin.sock"
    monkeypatch.setattr(daemon, "_SERVICE", str(service))
    service.touch()
    run("status", code=1)  # imports the command
    with _ordinary_user(service.parent):
        run("status", code=1)
    assert f"this user may not connect to unix:{service}: only the bridge's user and root may" in run.err
