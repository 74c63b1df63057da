"""Throw-away certificates for the tests of TLS."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_LEAF = """
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files: an authority, and what it has signed for localhost and 127.0.0.1."""

    ca: Path
    cert: Path
    key: Path
    client_cert: Path
    client_key: Path


def make_certificates(directory: Path) -> Certificates:
    """Make an authority, a server's and a client's certificate, valid for two days, with the `openssl` command."""
    ca, ca_key = directory / "ca.pem", directory / "ca.key"
    _openssl(
        "req", "-x509", *_KEY, "-days", "2", "-subj", "/CN=throw-away authority", "-keyout", str(ca_key), "-out", str(ca),
        "-addext", "keyUsage = critical, keyCertSign",
    )  # fmt: skip
    extensions = directory / "leaf.cnf"
    extensions.write_text(_LEAF)
    for name in ("server", "client"):
        request = directory / f"{name}.csr"
        key = directory / f"{name}.key"
        _openssl("req", "-new", *_KEY, "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request))
        _openssl(
            "x509", "-req", "-days", "2", "-in", str(request), "-CA", str(ca), "-CAkey", str(ca_key), "-CAcreateserial",
            "-extfile", str(extensions), "-out", str(directory / f"{name}.pem"),
        )  # fmt: skip
        # A broker that has changed to a user of its own must be able to read it.
        key.chmod(0o644)
    return Certificates(
        ca, directory / "server.pem", directory / "server.key", directory / "client.pem", directory / "client.key"
    )


def expire(certificates: Certificates) -> None:
    """Put a server's certificate that has expired in place of the good one."""
    directory = certificates.cert.parent
    # OpenSSL takes an end of its own from 3.4 on, and from then on no end before now.
    shown = subprocess.run(["openssl", "x509", "-help"], capture_output=True, text=True, timeout=60, check=False)
    options = shown.stdout + shown.stderr
    lifetime = (
        ("-not_before", "20260101000000Z", "-not_after", "20260102000000Z")
        if "-not_after" in options
        else ("-days", "-1")
    )
    _openssl(
        "x509", "-req", *lifetime, "-in", str(directory / "server.csr"), "-CA", str(certificates.ca),
        "-CAkey", str(directory / "ca.key"), "-CAcreateserial", "-extfile", str(directory / "leaf.cnf"),
        "-out", str(certificates.cert),
    )  # fmt: skip


def encrypt_key(key: Path, encrypted: Path, password: str) -> Path:
    """Write the key as one that needs `password`; return its path."""
    _openssl(
        "pkcs8", "-topk8", "-v2", "aes256", "-in", str(key), "-out", str(encrypted), "-passout", f"pass:{password}"
    )
    return encrypted


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
