"""What the service manager is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from bridge.process import systemd


def listener(address: str) -> socket.socket:
    """Listen as a service manager does."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(address)
    sock.settimeout(20)
    return sock


def test_nothing_is_sent_without_a_service_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside systemd the bridge runs just the same."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "")
    systemd.notify("READY=1")


def test_a_socket_in_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each state is one datagram, several lines of it included."""
    address = str(tmp_path / "notify")
    with listener(address) as sock:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        systemd.notify("READY=1\nSTATUS=running")
        systemd.notify("STOPPING=1")
        assert sock.recv(1000) == b"READY=1\nSTATUS=running"
        assert sock.recv(1000) == b"STOPPING=1"


def test_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that begins with @ is an abstract socket, as systemd gives in containers."""
    name = f"bridge-test-{os.getpid()}"
    with listener(f"\0{name}") as sock:
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        systemd.notify("READY=1")
        assert sock.recv(1000) == b"READY=1"


def test_a_service_manager_that_is_gone_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing socket, a stream socket, or a path that is too long is no reason to end."""
    for address in (str(tmp_path / "missing"), str(tmp_path), "/" + "x" * 500):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        systemd.notify("READY=1")
