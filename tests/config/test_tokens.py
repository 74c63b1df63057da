"""Tokens: user names without a password, in all the forms in which a file can hold them, and passwords in odd forms of YAML."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from bridge import cli
from bridge.config import load
from bridge.config.reader import parse
from bridge.config.substitution import Substitution
from bridge.delivery.source_log import SourceLog
from bridge.errors import ConfigError

SECRET = "hunter2"
MORE = "\n    x: 1"


@pytest.mark.parametrize(
    "text",
    [
        "url: mqtt://hunter2@h" + MORE,
        "url: mqtt://hunter2:@h" + MORE,
        "url: MQTT://hunter2@h",
        "url: mqtt://hunter2@[::1]:1883" + MORE,
        "url: mqtt://a/hunter2@h" + MORE,
        "url: mqtt:///hunter2@h" + MORE,
        "{url: mqtt://hunter2@h, x: 1}",
        "{url: 'mqtt://hunter2@h', x: 1}",
        "url: 'mqtt://h?token=hunter2'" + MORE,
        "url: 'mqtt://h?db=1&to%6Ben=hunter2'" + MORE,
        "url: 'mqtt://h?token=a@hunter2'" + MORE,
        "url: 'mqtt://h?token=a hunter2'" + MORE,
        "url: 'mqtt://h?hunter2'" + MORE,
        "url: 'mqtt://h#hunter2'" + MORE,
        'url: "mqtt://u@hunter2\\x40h"' + MORE,
        'url: "mqtt:\\x2f/hunter2@h"' + MORE,
        "url: >\n      mqtt://hunter2@h" + MORE,
        "url: mqtt://a\n      hunter2@h" + MORE,
        "url: 'mqtt://a\n      hunter2@h'" + MORE,
        "url: hunter2@h" + MORE,
        "host: u:hunter2@h" + MORE,
        "uri: mqtt://hunter2@h",
        "url: &a mqtt://hunter2@h" + MORE,
        "url: &hunter2@x mqtt://h" + MORE,
        "url: !x mqtt://hunter2@h",
        "url: *hunter2@h",
        "url: ${X:-mqtt://hunter2@h}" + MORE,
        "url: mqtt://${SECRET}@h" + MORE,
        "url: 'mqtt://${SECRET}@h h'",
        "url: mqtt://hunter2@h\n    url: mqtt://hunter2@h",
        "url: mqtt://hunter2@h\x01",
        "x: 1 # mqtt://hunter2@h",
        "username: hunter2" + MORE,
        "username: [hunter2]",
        "user: hunter2",
        "{type: mqtt, url: mqtt://h, username: hunter2, x: 1}",
        "password: hun\n      hunter2" + MORE,
        '{password: "hun, hunter2", x: 1}',
        '{password: "hun\n      hunter2", x: 1}',
        "? password\n    : hunter2" + MORE,
        "{? password : hunter2, x: 1}",
        "tls: {key_password: hunter2, x: 1}",
        "tls: {key-password: hunter2}",
        "tls: {passphrase: hunter2}",
        # Near misses, and keys of other programs.
        "usrname: hunter2",
        "Username: hunter2",
        "user_name: hunter2",
        "user-id: hunter2",
        "usernam: [hunter2]",
        "tls: {key-pass: hunter2}",
        "tls: {keypass: [hunter2]}",
        "auth: hunter2",
        "auth: {a: hunter2}",
        "basic_auth: u:hunter2",
        "access_key: hunter2",
        "Creds: hunter2",
        "Authorization: Bearer hunter2",
        # Files that YAML cannot read to their end.
        "x: [\n    user_name: hunter2",
        "x: [\n    auth: hunter2",
        "url: 'mqtt://hunter2@h",
        "url: 'mqtt://hunter2 b@h",
        "[url: mqtt://hunter2@h",
        "x: 1\n\turl: mqtt://hunter2@h",
        "username: 'hunter2",
        "x: [\n    username: hunter2",
        "x: 'a\n    username hunter2",
        "x: [\n    url: hunter2@h",
        "x: [\n    key_password: hunter2",
    ],
)
def test_no_mistake_shows_a_token(text: str, tmp_path: Path) -> None:
    """A token is in no message and in no line that could stand under one, however it is written."""
    path = tmp_path / "bridge.yaml"
    path.write_text(f"sources:\n  m:\n    {text}\n    type: mqt\n", encoding="utf-8")
    document = parse(path.read_bytes(), "bridge.yaml", Substitution({"SECRET": SECRET}))
    lines = [document.source.show(line, 1) for line in range(1, 10)]
    assert SECRET not in "\n".join(lines)
    with pytest.raises(ConfigError) as caught:
        load(path, environ={"SECRET": SECRET})
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.diagnostics)


def test_a_mistake_shows_all_that_is_no_secret(tmp_path: Path) -> None:
    """A source may be named after a secret, `tls.key` is a path, and a key only reminds of a user's name."""
    path = tmp_path / "bridge.yaml"
    settings = (
        "type: mqtt, url: mqtts://shown, topics: [t], tls: {key: /a/path, server_name: name}, client_id: id, x: 1"
    )
    for name in ("auth", "token", "user"):
        path.write_text(f"sources: {{{name}: {{{settings}}}}}\n", encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            load(path, environ={})
        assert settings in str(caught.value)


def test_a_user_beside_a_password_is_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever the password stands: the user's name of a URL is shown, and no word of a server is masked for it."""
    path = tmp_path / "bridge.yaml"
    path.write_text(
        """\
dramatiq: {url: redis://bridge@h, password: hunter2}
sources:
  beside: {type: amqp, url: amqp://bridge@rabbit, password: hunter2, queue: q}
  empty: {type: mqtt, url: mqtt://token@h, password: "", topics: [t]}
routes: []
""",
        encoding="utf-8",
    )
    config = load(path, environ={})
    assert config.dramatiq.secrets() == config.sources["beside"].secrets() == {SECRET}
    # As in a URL, an empty password is none.
    assert config.sources["empty"].secrets() >= {"token"}
    assert cli.main(["check", str(path)]) == 0
    with structlog.testing.capture_logs() as lines:
        SourceLog("s", "s", config.sources["beside"], None).connected(1, None)
    assert lines[0]["url"] == "amqp://bridge@rabbit"
    for shown in (repr(config), capsys.readouterr().out):
        assert "redis://bridge@h" in shown
        assert "amqp://bridge@rabbit" in shown
        assert "mqtt://***@h" in shown
        assert SECRET not in shown


def test_a_substituted_user_is_not_in_a_printed_configuration(tmp_path: Path) -> None:
    """A name out of the environment is hidden with its URL, beside a password too."""
    path = tmp_path / "bridge.yaml"
    text = "sources: {m: {type: mqtt, url: 'mqtt://${SECRET}@h', password: x, topics: [t]}}"
    path.write_text(text, encoding="utf-8")
    assert SECRET not in repr(load(path, environ={"SECRET": SECRET}))


def test_a_printed_configuration_shows_no_token(tmp_path: Path) -> None:
    """A user name is shown beside a password, and not where it may be a token."""
    path = tmp_path / "bridge.yaml"
    path.write_text(
        """\
sources:
  token: {type: mqtt, url: mqtt://h, username: hunter2}
  user: {type: mqtt, url: mqtt://h, username: plant, password: hunter2}
  key: {type: mqtt, url: mqtts://h, tls: {cert: c, key: k, key_password: hunter2}}
""",
        encoding="utf-8",
    )
    config = load(path, environ={})
    assert SECRET not in repr(config)
    assert "username='plant'" in repr(config)
    assert config.secrets() == {SECRET}
