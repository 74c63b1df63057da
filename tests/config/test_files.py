"""Files that never begin, never end, or are huge: each read ends, within a bound of bytes and of time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bridge.config import load, tls
from bridge.config.connection import Tls
from bridge.config.files import UnreadableFile, read_file
from bridge.errors import ConfigError, Disconnected
from tests.support.certificates import make_certificates
from tests.support.children import PATIENCE, REPOSITORY

CONFIG = "sources: {m: {type: mqtt, url: mqtt://h}}\n"


def _huge(path: Path) -> Path:
    """A file of 10 GiB that takes no room."""
    with path.open("wb") as file:
        file.truncate(10 << 30)
    return path


def _mistake(path: str | Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, environ={})
    return caught.value.diagnostics[0].message


def test_a_configuration_that_never_ends_is_refused(tmp_path: Path) -> None:
    """A device, and a file of 10 GiB, are mistakes in words."""
    assert _mistake("/dev/zero") == "cannot be read: it is not a file"
    assert _mistake(_huge(tmp_path / "huge")) == "the file is larger than 1MiB"


def test_a_configuration_may_come_through_a_pipe() -> None:
    """The shell's `<(...)` is a pipe: it is read until its end, also where it is written slowly."""
    read, write = os.pipe()

    def program() -> None:
        with os.fdopen(write, "w") as pipe:
            for line in CONFIG:
                pipe.write(line)
                pipe.flush()

    thread = threading.Thread(target=program)
    thread.start()
    try:
        assert set(load(f"/dev/fd/{read}", environ={}).sources) == {"m"}
    finally:
        thread.join()
        os.close(read)


def test_a_pipe_that_nobody_writes_ends_the_start(tmp_path: Path) -> None:
    """`check` and `run` say so, and end, where they would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    children = {
        command: subprocess.Popen(
            [sys.executable, "-m", "bridge", command, str(tmp_path / "pipe")],
            cwd=REPOSITORY,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in ("check", "run")
    }
    try:
        for child in children.values():
            _, err = child.communicate(timeout=PATIENCE * 30)
            assert "pipe:1:1: cannot be read: its end did not come within 10 s" in err
            assert child.returncode == 78
    finally:
        for child in children.values():
            child.kill()
            child.wait()


def test_a_pipe_without_an_end_is_bounded() -> None:
    """A program that writes for ever is read up to the bound; one that stops without closing, up to the timeout."""
    read, write = os.pipe()
    os.write(write, b"x" * 100)
    with pytest.raises(UnreadableFile, match="is larger than 10B"):
        read_file(f"/dev/fd/{read}", 10, pipe_timeout_s=10)
    with pytest.raises(UnreadableFile, match=r"its end did not come within 0\.1 s"):
        read_file(f"/dev/fd/{read}", 1000, pipe_timeout_s=0.1)
    os.close(read)
    os.close(write)


def test_the_systems_authorities_may_never_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """OpenSSL reads the file that SSL_CERT_FILE names, on the event loop: a device, a pipe and a huge file are refused before."""
    os.mkfifo(tmp_path / "pipe")
    _huge(tmp_path / "huge")
    for path, words in {
        "/dev/zero": "cannot be read: it is not a file",
        f"{tmp_path}/pipe": "cannot be read: it is not a file",
        f"{tmp_path}/huge": "is larger than 1MiB",
    }.items():
        monkeypatch.setenv("SSL_CERT_FILE", path)
        with pytest.raises(Disconnected) as caught:
            tls.context(None)
        assert caught.value.cause == f"tls: {path}, the file of the variable SSL_CERT_FILE, {words}"


def test_authorities_that_nobody_trusts_are_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With `verify: false`, or a `ca` of its own, SSL_CERT_FILE has no meaning: nothing waits for its file, nothing refuses it."""
    authority = make_certificates(tmp_path).ca
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pipe"))
    for settings in (Tls(verify=False), Tls(ca=str(authority))):
        assert not [*tls.faults(settings)]
        tls.context(settings)


def test_a_file_of_authorities_that_openssl_ignores_is_ignored(tmp_path: Path) -> None:
    """SSL_CERT_FILE names a file of others, nothing, a directory, too long a path, no certificate: `check` is content."""
    config = tmp_path / "bridge.yaml"
    config.write_text("sources: {m: {type: mqtt, url: mqtts://h, topics: [t], tls: {server_name: h}}}\n")
    (tmp_path / "text").write_text("no certificate")
    (tmp_path / "private").mkdir(mode=0)
    program = (
        "import os, sys\nfrom bridge.config import load, tls\nloaded = load(sys.argv[1], environ={})\n"
        # Root may read everything.
        "if sys.argv[2] == 'other' and os.geteuid() == 0: os.seteuid(65534)\n"
        "for path in sys.argv[3:]:\n"
        "    os.environ['SSL_CERT_FILE'] = path\n"
        "    assert not [*tls.mistakes(loaded)]\n    tls.context(None)\n"
    )
    names = ["nothing", ".", "text", "text/below", "x" * 5000, "/dev/null"]
    for user, ignored in {"self": names, "other": ["private/ca.pem"]}.items():
        words = [config, user, *(tmp_path / name for name in ignored)]
        subprocess.run([sys.executable, "-c", program, *map(str, words)], cwd=REPOSITORY, check=True, timeout=60)


@pytest.mark.parametrize("setting", ["ca", "cert", "key"])
def test_a_certificate_that_never_ends_is_refused(setting: str, tmp_path: Path) -> None:
    """A pipe, a device, a directory and a file of 10 GiB in `tls` are mistakes that `check` finds."""
    os.mkfifo(tmp_path / "pipe")
    _huge(tmp_path / "huge")
    (tmp_path / "empty").touch()
    files = dict.fromkeys(("ca", "cert", "key"), f"{tmp_path}/empty")
    for path, words in {
        "/dev/zero": "cannot be read: it is not a file",
        f"{tmp_path}/pipe": "cannot be read: it is not a file",
        f"{tmp_path}/huge": "is larger than 1MiB",
        f"{tmp_path}": "cannot be read: Is a directory",
    }.items():
        settings = ", ".join(f"{name}: {file}" for name, file in {**files, setting: path}.items())
        (tmp_path / "bridge.yaml").write_text(f"sources: {{m: {{type: mqtt, url: mqtts://h, tls: {{{settings}}}}}}}\n")
        with pytest.raises(ConfigError, match=f"tls.{setting}: {path} {words}"):
            load(tmp_path / "bridge.yaml", environ={}, check=lambda loaded: [*tls.mistakes(loaded)])
