"""`admin:` in the file: the address, the token and the names, each with its mistakes in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from bridge import cli, config
from bridge.config import AdminSettings
from bridge.errors import ConfigError

REST = "sources: {s: {type: redis-pubsub, url: redis://localhost, channels: [a]}}\n"


@pytest.mark.parametrize(
    ("listen", "host", "port", "path"),
    [
        ("127.0.0.1:9464", "127.0.0.1", 9464, None),
        ("localhost:1", "localhost", 1, None),
        ("0.0.0.0:65535", "0.0.0.0", 65535, None),  # noqa: S104 - an address of the file
        ("[::1]:9464", "::1", 9464, None),
        ("[::]:9464", "::", 9464, None),
        ("bridge_1.example.com:80", "bridge_1.example.com", 80, None),
        ("unix:/run/admin.sock", "", 0, "/run/admin.sock"),
        ("unix:///run/admin.sock", "", 0, "/run/admin.sock"),
        ("unix:/run/with:colon/a b", "", 0, "/run/with:colon/a b"),
        ("unix:/" + "x" * 106, "", 0, "/" + "x" * 106),
    ],
)
def test_the_parts_of_an_address(listen: str, host: str, port: int, path: str | None) -> None:
    """Host and port, or the path of a socket."""
    settings = AdminSettings(listen=listen)
    assert (settings.host, settings.port, settings.unix_path) == (host, port, path)


def test_without_an_address_it_is_the_one_of_this_machine() -> None:
    """Nobody else reaches it, and Prometheus knows the port."""
    settings = AdminSettings()
    assert (settings.host, settings.port, settings.token, settings.hosts) == ("127.0.0.1", 9464, None, [])


@pytest.mark.parametrize(
    ("listen", "words"),
    [
        ("9464", "takes an address with its port, not a port alone; as in 127.0.0.1:9464"),
        ('"9464"', "takes an address with its port, not a port alone"),
        ('":9464"', "takes an address before the port; 127.0.0.1 is this machine alone, 0.0.0.0 everybody"),
        ('"*:9464"', "takes an address before the port"),
        ("localhost", "takes an address with its port, or the path of a socket; as in 127.0.0.1:9464"),
        ("'localhost:'", "takes a port from 1 to 65535"),
        ("localhost:http", "takes a port from 1 to 65535"),
        ("localhost:0", "takes a port from 1 to 65535"),
        ("localhost:65536", "takes a port from 1 to 65535"),
        ("localhost:-1", "takes a port from 1 to 65535"),
        ("localhost:٣", "takes a port from 1 to 65535"),
        ('"::1:9464"', "takes an IPv6 address in brackets; as in [::1]:9464"),
        ('"[::1]"', "takes an address with its port"),
        ('"[localhost]:1"', "takes an IPv6 address in brackets"),
        ('"[]:1"', "takes an address before the port"),
        ("127.0.1:9464", "takes the name or the address of this machine"),
        ("999.0.0.1:9464", "takes the name or the address of this machine"),
        ("a b:9464", "takes the name or the address of this machine"),
        ("a..b:9464", "takes the name or the address of this machine"),
        ("http://localhost:9464", "takes an address and a port, not a URL"),
        ("/run/admin.sock", "takes unix: before the path of a socket"),
        ("unix:admin.sock", "takes the absolute path of a socket after unix:; as in unix:/run/"),
        ('"unix:"', "takes the absolute path of a socket after unix:"),
        ("unix:/run/", "takes the absolute path of a socket after unix:"),
        ('"unix:/a\\0b"', "takes a path without the character NUL"),
        ("unix:/" + "x" * 107, "takes a path of at most 107 bytes, the kernel's limit; this one has 108"),
        ("unix:/" + "é" * 54, "takes a path of at most 107 bytes"),
        ("[a]", "takes an address with its port, or the path of a socket, not a list"),
        ("null", "takes an address with its port, or the path of a socket, not null"),
        ("true", "takes an address with its port, or the path of a socket, not true or false"),
        ('""', "takes an address with its port"),
    ],
)
def test_an_address_with_a_mistake(listen: str, words: str, mistakes: Callable[[str], str]) -> None:
    """The error says where it stands and how it is written."""
    text = mistakes(f"{REST}admin:\n  listen: {listen}\n")
    assert text.startswith("bridge.yaml:3:11: admin.listen: ")
    assert words in text


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (
            "short",
            "takes a token of at least 16 characters; this one has 5; the command openssl rand -hex 16 makes one",
        ),
        ("fifteen-letters", "this one has 15"),
        ('""', "this one has 0"),
        ('"with blanks between words"', "without blanks"),
        ("größeres-geheimnis", "of ASCII"),
        ("x" * 1025, "at most 1,024"),
        ("12345678901234567", "takes text, not a number; quote it"),
    ],
)
def test_a_token_with_a_mistake(token: str, words: str, mistakes: Callable[[str], str]) -> None:
    """It can be guessed, or no header holds it; the error does not show it."""
    text = mistakes(f"{REST}admin:\n  token: {token}\n")
    assert text.startswith("bridge.yaml:3:10: admin.token: ")
    assert words in text
    assert token.strip('"') == "" or token not in text


@pytest.mark.parametrize("token", ["sixteen-letters!", "x" * 1024])
def test_a_token_that_is_long_enough(token: str) -> None:
    """Sixteen characters are enough, and it is in no repr."""
    settings = AdminSettings(token=SecretStr(token))
    assert settings.token is not None
    assert settings.token.get_secret_value() == token
    assert token not in repr(settings)


@pytest.mark.parametrize("known", ["", "${NOWHERE}", "${credential:token}", "x-${NOWHERE}"])
def test_a_token_without_a_value_here_is_no_mistake(known: str, tmp_path: Path) -> None:
    """A placeholder stands for a token of any length: `check --allow-unset` and `test` find no mistake; a short one is one."""
    path = tmp_path / "bridge.yaml"
    path.write_text(
        f'{REST}admin: {{token: "{known or "short"}"}}\ntests: [{{name: t, event: {{from: s}}, expect: []}}]\n'
    )
    for command in (["check", "--allow-unset"], ["test"]):
        assert cli.main([*command, str(path)]) == (0 if known else 78)


def test_the_remedy_of_a_short_token_is_shown(tmp_path: Path) -> None:
    """Nothing in it is masked, though the token came from a variable."""
    path = tmp_path / "bridge.yaml"
    path.write_text(f"{REST}admin: {{token: '${{TOKEN}}'}}\n")
    with pytest.raises(ConfigError, match="has 11; the command openssl rand -hex 16 makes one") as caught:
        config.load(str(path), environ={"TOKEN": "a-short-one"})
    assert "a-short-one" not in str(caught.value)


def test_an_unset_token_is_none(tmp_path: Path) -> None:
    """`${ADMIN_TOKEN:-}` leaves an address that only shows; a set one is a secret of the configuration."""
    path = tmp_path / "bridge.yaml"
    path.write_text(f"{REST}admin:\n  listen: 127.0.0.1:${{PORT}}\n  token: ${{ADMIN_TOKEN:-}}\n")
    loaded = config.load(str(path), environ={"PORT": "1234"})
    assert loaded.admin is not None
    assert (loaded.admin.token, loaded.admin.port) == (None, 1234)
    token = "a-token-of-the-environment"
    loaded = config.load(str(path), environ={"PORT": "1234", "ADMIN_TOKEN": token})
    assert token in loaded.secrets()
    assert token not in repr(loaded)


@pytest.mark.parametrize("host", ["bridge.example.com", "BRIDGE", "10.0.0.1", "'::1'", "'[::1]'"])
def test_names_by_which_clients_come(host: str, tmp_path: Path) -> None:
    """Names and addresses."""
    path = tmp_path / "bridge.yaml"
    path.write_text(f"{REST}admin: {{hosts: [{host}]}}\n")
    loaded = config.load(str(path), environ={})
    assert loaded.admin is not None
    assert loaded.admin.hosts == [host.strip("'")]


@pytest.mark.parametrize("host", ["bridge:9464", "http://bridge", "'*'", "'*.example.com'", "'a b'", "a/b", "10.0.0"])
def test_a_name_with_a_mistake(host: str, mistakes: Callable[[str], str]) -> None:
    """A port, a scheme or a wildcard would fit no Host header."""
    text = mistakes(f"{REST}admin:\n  hosts: [{host}]\n")
    assert "admin.hosts[0]: takes the name of a host, without a scheme and a port; as in bridge.example.com" in text
