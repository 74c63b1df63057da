"""One TLS context for equal settings: making one takes 20 ms of CPU, and a rotated certificate needs another one."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bridge.config import Tls, tls
from tests.support.certificates import Certificates, encrypt_key, make_certificates

Write = Callable[[Path, str], None]


@contextmanager
def server(certificates: Certificates) -> Iterator[int]:
    """Run a TLS server with this certificate, and yield its port."""
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secure.load_cert_chain(certificates.cert, certificates.key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                accepted, _ = listener.accept()
                with suppress(OSError), secure.wrap_socket(accepted, server_side=True) as link:
                    link.recv(1)

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        serving.join()


def connects(port: int, settings: Tls) -> bool:
    """Tell whether a connection with the context and the name of `settings` trusts the server, as every client makes it."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 10) as link,
            tls.context(settings).wrap_socket(link, server_hostname=settings.server_name or "127.0.0.1"),
        ):
            return True
    except ssl.SSLCertVerificationError:
        return False


@pytest.fixture
def other(tmp_path: Path) -> Certificates:
    """Certificates of another authority."""
    (tmp_path / "other").mkdir()
    return make_certificates(tmp_path / "other")


def test_a_hundred_sources_make_one_context(certificates: Certificates) -> None:
    """However often each of them connects; settings that differ have contexts of their own."""
    ca = str(certificates.ca)
    contexts = [tls.context(Tls(ca=ca)) for _ in range(100)]
    assert all(one is contexts[0] for one in contexts)
    assert tls.context(None) is tls.context(Tls())
    cert, key = str(certificates.client_cert), str(certificates.client_key)
    different = [
        Tls(), Tls(ca=ca), Tls(verify=False), Tls(ca=ca, server_name="a"), Tls(ca=ca, server_name="b"),
        Tls(ca=ca, verify=False), Tls(ca=ca, cert=cert, key=key),
    ]  # fmt: skip
    made = [tls.context(one) for one in different]
    assert len(set(map(id, made))) == len(different)


async def test_connections_share_a_context_at_the_same_time(certificates: Certificates) -> None:
    """In threads, as MQTT connects, and on the loop; each name is checked by its own settings."""
    good, bad = (Tls(ca=str(certificates.ca), server_name=name) for name in ("localhost", "elsewhere"))

    async def on_loop(port: int) -> bool:
        context = tls.context(good)
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        writer.close()
        return True

    with server(certificates) as port:
        attempts = [
            attempt
            for _ in range(20)
            for attempt in (
                asyncio.to_thread(connects, port, good),
                asyncio.to_thread(connects, port, bad),
                on_loop(port),
            )
        ]
        assert await asyncio.gather(*attempts) == [True, False, True] * 20


def test_another_password_is_another_context(certificates: Certificates, tmp_path: Path) -> None:
    """A key that one source can read is not there for another one whose password is wrong."""
    key = str(encrypt_key(certificates.client_key, tmp_path / "encrypted", "right"))
    given = {"verify": False, "cert": str(certificates.client_cert), "key": key}
    tls.context(Tls.model_validate({**given, "key_password": "right"}))
    for password in ("wrong", None):
        with pytest.raises(tls.TlsFault):
            tls.context(Tls.model_validate({**given, "key_password": password}))


def in_place(path: Path, text: str) -> None:
    """Write into the file, which keeps its number and gets its old time."""
    state = path.stat()
    path.write_text(text)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def by_rename(path: Path, text: str) -> None:
    """Put another file in its place."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def by_link(path: Path, text: str) -> None:
    """Let it be a link to another file, as mounted secrets are."""
    new = path.with_suffix(".data")
    new.write_text(text)
    path.unlink()
    path.symlink_to(new)


@pytest.mark.parametrize("write", [in_place, by_rename, by_link])
@pytest.mark.parametrize("variable", [False, True], ids=["ca", "SSL_CERT_FILE"])
def test_a_rotated_authority_is_seen_at_the_next_connect(  # noqa: PLR0917
    certificates: Certificates,
    other: Certificates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Write,
    variable: bool,
) -> None:
    """Of a source's own file, and of the system's; what was connected until then stays."""
    authority = tmp_path / "ca.pem"
    authority.write_text(certificates.ca.read_text())
    settings = Tls(server_name="localhost") if variable else Tls(ca=str(authority), server_name="localhost")
    if variable:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with server(certificates) as old, server(other) as new:
        assert connects(old, settings)
        assert not connects(new, settings)
        write(authority, other.ca.read_text())
        assert connects(new, settings)
        assert not connects(old, settings)


def test_a_file_that_comes_back_is_used_again(certificates: Certificates, tmp_path: Path) -> None:
    """While it is away the fault names it."""
    authority = tmp_path / "ca.pem"
    settings = Tls(ca=str(authority))
    for _ in range(2):
        authority.write_text(certificates.ca.read_text())
        tls.context(settings)
        authority.unlink()
        with pytest.raises(tls.TlsFault, match=r"ca\.pem"):
            tls.context(settings)
