"""A running bridge is found by `--config` or `--admin`; if it is not, the words say why. No secret is ever shown."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.commands import admin_client
from bridge.commands.admin_client import Address
from bridge.errors import UsageError
from tests.commands.conftest import Terminal
from tests.support.admin_server import TOKEN, AdminServer, Bridge
from tests.support.children import free_port


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRAMATIQ_BRIDGE_TOKEN", raising=False)


@pytest.fixture
def server() -> Iterator[AdminServer]:
    """The admin server of a bridge, with a token."""
    with AdminServer(Bridge()) as started:
        yield started


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9464", Address("127.0.0.1", 9464)),
        ("localhost:1", Address("localhost", 1)),
        ("[::1]:65535", Address("::1", 65535)),
        ("0.0.0.0:9464", Address("127.0.0.1", 9464)),
        ("[::]:9464", Address("::1", 9464)),
        (":9464", Address("127.0.0.1", 9464)),
        ("unix:/run/a b.sock", Address(path="/run/a b.sock")),
    ],
)
def test_an_address(text: str, address: Address) -> None:
    """A server that listens everywhere is asked on this machine's own address."""
    assert Address.parse(text) == address
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "9464",
        "127.0.0.1",
        "host:0",
        "host:65536",
        "host:٣",
        "::1:9464",
        "[h]:1",
        "http://h:1",
        "h h:1",
        "unix:a",
        "unix:",
    ],
)
def test_no_address(run: Terminal, text: str) -> None:
    """It is a wrong argument, and the words show a right one."""
    with pytest.raises(UsageError):
        Address.parse(text)
    run("status", "--admin", text, code=2)
    assert "--admin takes " in run.err
    assert "as in" in run.err


def _config(path: Path, admin: str) -> str:
    path.write_text(f"sources: {{s: {{type: mqtt, url: 'mqtt://h'}}}}\n{admin}")
    return str(path)


def test_a_file_without_an_admin_server(run: Terminal, tmp_path: Path) -> None:
    """The error says which lines to add, and that the service may have been started with an address; exit code 1."""
    for admin in ("", "admin:\n", "admin: null\n"):
        run("status", "--config", _config(tmp_path / "a.yaml", admin), code=1)
        assert "a.yaml has no `admin:`" in run.err
        assert "unless it was started with --admin: then give --admin here too; or add these lines to it" in run.err
        assert "add these lines to it, and start the bridge again: `admin:`, `  listen: 127.0.0.1:9464`" in run.err


def test_a_file_whose_admin_is_wrong(run: Terminal, tmp_path: Path) -> None:
    """The mistakes of this section are shown in their places, those elsewhere are not; exit code 78."""
    run("status", "--config", _config(tmp_path / "a.yaml", "admin: {listn: x}\nroute: []\n"), code=78)
    assert "a.yaml:2:9: admin.listn: unknown key" in run.err
    assert "1 mistake in the configuration" in run.err
    run("status", "--config", _config(tmp_path / "a.yaml", "admin: [x\n"), code=78)
    run("status", "--config", str(tmp_path / "missing.yaml"), code=78)
    assert "cannot be read" in run.err


@pytest.mark.parametrize(
    "mistake", ["sources: []\n", "nonsense: 1\n", "routes: [{from: nobody}]\n", "log: {}\nlog: {}\n"]
)
def test_mistakes_elsewhere_do_not_hide_the_bridge(
    run: Terminal, server: AdminServer, tmp_path: Path, mistake: str
) -> None:
    """Somebody may just have broken the file of a bridge that runs on with the old one."""
    file = tmp_path / "a.yaml"
    file.write_text(f"{mistake}admin: {{listen: '{server.listen}', token: {TOKEN}}}\n")
    run("status", "--config", str(file))
    run("pause", "plant", "--config", str(file))


def test_the_files_token(run: Terminal, server: AdminServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that changes something takes it from the file; another one does not need it on this machine."""
    file = _config(tmp_path / "a.yaml", f"admin: {{listen: '{server.listen}', token: '${{BRIDGE_TOKEN}}'}}\n")
    run("status", "--config", file)
    run("pause", "plant", "--config", file, code=78)
    assert "a.yaml:2:" in run.err
    assert "${BRIDGE_TOKEN} has no value here" in run.err
    run("pause", "plant", "--config", file, "--token", TOKEN)
    monkeypatch.setenv("BRIDGE_TOKEN", TOKEN)
    run("resume", "plant", "--config", file)
    assert server.bridge.orders == ["pause plant", "resume plant"]
    file = _config(tmp_path / "b.yaml", "admin: {listen: '${BRIDGE_LISTEN}'}\n")
    run("status", "--config", file, code=78)
    assert "${BRIDGE_LISTEN} has no value here" in run.err


def test_the_token_of_the_command_line(run: Terminal, server: AdminServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--token`, also as '${NAME}', or else DRAMATIQ_BRIDGE_TOKEN; a wrong one is never shown."""
    words = ["reload", "--admin", server.listen]
    run(*words, code=1)
    assert "refuses it: it needs the `admin: token` of its file; give --token, or set DRAMATIQ_BRIDGE_TOKEN" in run.err
    run(*words, "--token", "s3cret-wrong", code=1)
    assert "refuses it: the token is not the bridge's; --token or DRAMATIQ_BRIDGE_TOKEN must be" in run.err
    run(*words, "--token", "wrong", code=1)
    assert "***" not in run.err
    run(*words, "--token", "${MISSING_TOKEN}", code=2)
    assert "--token: the environment variable MISSING_TOKEN is not set" in run.err
    run(*words, "--token", "s3cret\nX: y", code=2)
    assert "--token: a token has printable ASCII characters only" in run.err
    assert not server.bridge.orders
    run(*words, "--token", TOKEN)
    monkeypatch.setenv("MISSING_TOKEN", TOKEN)
    run(*words, "--token", "${MISSING_TOKEN}")
    monkeypatch.setenv("DRAMATIQ_BRIDGE_TOKEN", TOKEN)
    run(*words)


def test_an_address_without_a_token_only_shows(run: Terminal) -> None:
    """The server's own words say how to change that."""
    with AdminServer(Bridge(), token=None) as server:
        run("pause", "plant", "--admin", server.listen, code=1)
        assert "refuses it: " in run.err
        assert "Unix socket" in run.err
        run("status", "--admin", server.listen)


def test_a_unix_socket(run: Terminal, tmp_path: Path) -> None:
    """It needs no token."""
    with AdminServer(Bridge(), directory=tmp_path, token=None) as server:
        run("pause", "plant", "--admin", server.listen)
        run("status", "--config", _config(tmp_path / "a.yaml", f"admin: {{listen: '{server.listen}'}}\n"))
        run(
            "pause",
            "plant",
            "--config",
            _config(tmp_path / "a.yaml", f"admin: {{listen: '{server.listen}', token: '${{T}}'}}\n"),
        )
    run("status", "--admin", f"unix:{tmp_path}/gone.sock", code=1)
    assert f"nobody listens at unix:{tmp_path}/gone.sock: is the bridge running" in run.err
    run("status", "--admin", f"unix:/{'x' * 200}", code=1)
    assert "failed: AF_UNIX path too long" in run.err


def test_a_user_who_may_not(run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket is the bridge's own user's: the error says who may use it."""

    class Forbidden(socket.socket):
        def connect(self, address: Any) -> None:  # root, as which tests may run, is never forbidden
            raise PermissionError(13, "Permission denied")

    with AdminServer(Bridge(), directory=tmp_path) as server:
        monkeypatch.setattr(socket, "socket", Forbidden)
        run("status", "--admin", server.listen, code=1)
        monkeypatch.undo()
    assert f"this user may not connect to {server.listen}: only the bridge's user and root may" in run.err


def test_nobody_listens(run: Terminal) -> None:
    """Whether the bridge runs is the first question; without arguments the usual address is asked."""
    run("status", "--admin", f"127.0.0.1:{free_port()}", code=1)
    assert "is the bridge running, with `admin:` in its configuration?" in run.err
    assert run.err.count("\n") == 1


@contextmanager
def _server_that_sends(answer: bytes, *, then_wait: bool = False) -> Iterator[str]:
    """A server that sends this to each client, whatever it asks; yields the address."""
    with socket.create_server(("127.0.0.1", free_port())) as listening:
        clients: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    client = listening.accept()[0]
                except OSError:
                    return
                clients.append(client)
                client.recv(65536)
                client.sendall(answer)
                if not then_wait:
                    client.shutdown(socket.SHUT_RDWR)
                    client.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(30)
            for client in clients:
                client.close()


def _answer(body: bytes, code: int = 200) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (code, len(body), body)


STRANGER = "answers, and is no dramatiq-bridge"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "has closed the connection without an answer"),
        (b"+PONG\r\n", STRANGER),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", STRANGER),
        (_answer(b"<html>hello</html>"), STRANGER),
        (_answer(b"<html>not here</html>", 404), f"{STRANGER} that this command knows: HTTP 404"),
        (_answer(b"{}"), STRANGER),
        (_answer(b"[" * 10_000), STRANGER),
        (_answer(b"\xff\xfe"), STRANGER),
        (_answer(b"on\x1b[2J fire", 500), "refuses it: HTTP 500: on\\x1b[2J fire"),
        (_answer(b'{"version":"99.1"}'), "the bridge has version 99.1, this command "),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{", "in the middle of its answer"),
    ],
)
def test_an_answer_that_is_none_of_ours(run: Terminal, answer: bytes, says: str) -> None:
    """Another server at this address, or one that is cut off: one line, exit code 1."""
    with _server_that_sends(answer) as address:
        run("status", "--admin", address, code=1)
        assert says in run.err
        assert run.err.count("\n") == 1


def test_json_of_a_stranger(run: Terminal) -> None:
    """It is not printed as a status."""
    with _server_that_sends(_answer(b'{"hello": 1}')) as address:
        assert run("status", "--admin", address, "--json", code=1) == ""
        assert STRANGER in run.err


def test_a_server_that_never_answers(run: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up after 5 s, and so is one that sends its answer in crumbs."""
    assert admin_client.TIMEOUT_S == 5
    monkeypatch.setattr(admin_client, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(admin_client, "RELOAD_TIMEOUT_S", 0.2)
    with _server_that_sends(b"", then_wait=True) as address:
        run("status", "--admin", address, code=1)
        assert "no answer from" in run.err
        assert "does the bridge hang?" in run.err
        run("reload", "--wait", "--admin", address, code=1)
        assert "the reload may go on: `dramatiq-bridge status` shows its result" in run.err


def test_an_endless_answer(run: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory is bounded."""
    monkeypatch.setattr(admin_client, "_MAX_ANSWER", 1000)
    with _server_that_sends(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000) as address:
        run("status", "--admin", address, code=1)
        assert "its answer has no end" in run.err


def test_a_slow_answer_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that come one by one do not keep a command for ever."""
    monkeypatch.setattr(admin_client, "TIMEOUT_S", 1.0)

    class Crumbs:
        length: Any = None

        def read1(self, _size: int) -> bytes:
            time.sleep(0.05)
            return b"x"

    client = admin_client.AdminClient(Address("127.0.0.1", 1))
    with pytest.raises(TimeoutError):
        client._read(Crumbs(), time.monotonic() + 0.1)  # type: ignore[arg-type] # as http.client's
