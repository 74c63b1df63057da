"""Substitution, and that a secret is shown nowhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.config import Amqp, Config, Mqtt, load, redacted_url
from bridge.errors import ConfigError, Diagnostic

Load = Callable[..., Config]
SECRET = "hunter2"


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    """Load a text as a configuration."""

    def load_text(text: str, check: Callable[[Config], list[Diagnostic]] | None = None, **environ: str) -> Config:
        path = tmp_path / "bridge.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path, environ=environ, check=check)

    return load_text


def route(line: str) -> str:
    """Return a configuration with one route, which ends in this line."""
    return f"sources:\n  m: {{type: mqtt, url: mqtt://localhost}}\nroutes:\n  - from: m\n    actor: act\n    {line}\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${NAME}", "x y"),
        ("a ${NAME} b ${NAME}", "a x y b x y"),
        ("${UNSET:-fall: back}", "fall: back"),
        ("${EMPTY:-fallback}", "fallback"),
        ("${UNSET:-}", ""),
        ("${EMPTY}", ""),
        ("x $${NAME}", "x ${NAME}"),
        ("${NESTED}", "$${NAME}"),
        ("${NUMBER}", "7"),
        ("price in $", "price in $"),
        ("${DOLLAR}", "$$payload.id"),
        ("$payload['${NAME}']", "$payload['${NAME}']"),
        ("$${NAME}", "$${NAME}"),
    ],
)
def test_references_are_replaced_once_and_as_text(text: str, value: str, loaded: Load) -> None:
    """The environment gives text, never structure, number, reference or expression; expressions are left alone."""
    config = loaded(
        route(f'args: ["{text}"]'),
        NAME="x y",
        EMPTY="",
        NESTED="${NAME}",
        NUMBER="7",
        DOLLAR="$payload.id",
    )
    assert config.routes[0].args == [value]
    assert type(config.routes[0].args[0]) is str


def test_a_substituted_text_is_no_expression_in_a_step(loaded: Load) -> None:
    """As in args: the environment brings values and no code."""
    (route_,) = loaded(route('then: [{actor: b, args: ["${NAME}"]}]'), NAME="$payload.a").routes
    assert route_.then[0].args == ["$$payload.a"]  # the text, with the sign doubled as in the file
    with pytest.raises(ConfigError, match="actor"):
        loaded(route("allow: {actor: [b]}").replace("actor: act", "name: n\n    actor: ${NAME}"), NAME="$payload.a")


def test_outside_of_routes_a_dollar_is_only_a_dollar(loaded: Load) -> None:
    """A password may begin with `$`, and a literal `${` is written `$${` everywhere."""
    text = "sources:\n  m: {type: mqtt, url: mqtt://localhost, username: '$${me}', password: '$a${NAME}'}\n"
    source = loaded(text, NAME="b").sources["m"]
    assert source.password is not None
    assert (source.username, source.password.get_secret_value()) == ("${me}", "$ab")


def test_a_setting_that_takes_a_number_takes_it_from_the_environment(loaded: Load) -> None:
    """Unquoted references serve numbers, booleans, durations and options too."""
    config = loaded(
        """\
sources:
  m:
    type: mqtt
    url: mqtts://h
    qos: ${QOS}
    keepalive: ${SHORT}
    version: ${VERSION}
    tls:
      verify: ${NO:-false}
routes:
  - from: m
    actor: act
    options:
      max_retries: ${N:-3}
      time_limit: ${SHORT}
      notify_shutdown: ${YES}
""",
        QOS="0",
        SHORT="5s",
        VERSION="5",
        YES="true",
    )
    source = config.sources["m"]
    assert isinstance(source, Mqtt)
    assert (source.qos, source.keepalive, source.version) == (0, 5_000, "5")
    assert source.tls is not None
    assert source.tls.verify is False
    assert config.routes[0].options == {"max_retries": 3, "time_limit": 5_000, "notify_shutdown": True}


def test_a_password_file_loses_its_last_newline_only(tmp_path: Path, loaded: Load) -> None:
    """`${file:}` reads the files of an editor or of a secret store."""
    for body, value in ((b"a\n", "a"), (b"a\n\n", "a\n"), (b" a", " a"), ("é\r\n".encode(), "é"), (b"", "")):
        (tmp_path / "secret").write_bytes(body)
        assert loaded(route(f"args: ['${{file:{tmp_path}/secret}}']")).routes[0].args == [value]
        credential = loaded(route("args: ['${credential:secret}']"), CREDENTIALS_DIRECTORY=str(tmp_path))
        assert credential.routes[0].args == [value]


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("${UNSET}", 11, "the environment variable UNSET is not set; set it, or write ${UNSET:-fallback}"),
        ("a ${UNSET} b", 13, "the environment variable UNSET is not set; set it, or write ${UNSET:-fallback}"),
        ("é 'a' ${UNSET}", 17, "the environment variable UNSET is not set; set it, or write ${UNSET:-fallback}"),
        ("'it''s ${UNSET}'", 18, "the environment variable UNSET is not set; set it, or write ${UNSET:-fallback}"),
        ("${A", 11, "a ${ that is not closed; write $${ for a literal ${"),
        (
            "${a b}",
            11,
            (
                "this is none of ${NAME}, ${NAME:-fallback}, ${file:/path} and ${credential:name}; "
                "write $${ for a literal ${"
            ),
        ),
        ("${file:secret}", 11, "takes an absolute path; as in ${file:/run/secrets/password}"),
        ("${file:/nowhere/secret}", 11, "/nowhere/secret cannot be read: No such file or directory"),
        ("${file:/dev/zero}", 11, "/dev/zero cannot be read: it is not a file"),
        ("${file:/dev}", 11, "/dev cannot be read: Is a directory"),
        (
            "${credential:../x}",
            11,
            "this is not the name of a credential; a file's name of letters, digits and _ . - @",
        ),
        (
            "${credential:x}",
            11,
            (
                "there is no credential x: CREDENTIALS_DIRECTORY is not set;"
                " systemd sets it for a unit with LoadCredential=; in a shell, export it: the folder of the credentials"
            ),
        ),
        ("${LATIN}", 11, "the environment variable LATIN is not UTF-8 text"),
    ],
)
def test_a_reference_that_cannot_be_replaced_is_shown(text: str, column: int, words: str, loaded: Load) -> None:
    """An unset name is a mistake at its own column, with the remedy."""
    with pytest.raises(ConfigError) as caught:
        loaded(route(f"when: {text}"), LATIN=os.fsdecode(b"\xe9"))
    (mistake,) = caught.value.diagnostics
    assert (mistake.line, mistake.column, mistake.where) == (6, column, "routes[0].when")
    assert "; ".join(filter(None, (mistake.message, mistake.hint))) == words


def test_a_secret_file_is_bounded_and_never_waited_for(tmp_path: Path, loaded: Load) -> None:
    """A wrong path, such as a log or a pipe without a writer, neither fills the memory nor hangs the start."""
    (tmp_path / "large").write_bytes(b"x" * (64 * 1024 + 1))
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("large", "is larger than 64KiB"), ("pipe", "cannot be read: it is not a file")):
        with pytest.raises(ConfigError, match=words):
            loaded(route(f"when: ${{file:{tmp_path}/{name}}}"))


def test_a_reference_is_not_replaced_in_a_key(loaded: Load) -> None:
    """Keys are the file's own."""
    assert loaded(route("kwargs: {'${NAME}': 1}"), NAME="x").routes[0].kwargs == {"${NAME}": 1}


def test_a_password_that_would_break_its_url_is_explained(loaded: Load) -> None:
    """A password with an @ or a slash put into a URL does not quietly change the host."""
    with pytest.raises(ConfigError) as caught:
        loaded("sources:\n  o: {type: amqp, url: 'amqp://u:${P}@h/', queue: q}\n", P=f"{SECRET}/@evil")
    assert caught.value.diagnostics[0].hint == "percent-encode it, or write password: beside url:"
    assert SECRET not in str(caught.value)
    source = loaded("sources:\n  o: {type: amqp, url: 'amqp://u:${P}@h/', queue: q}\n", P=SECRET).sources["o"]
    assert isinstance(source, Amqp)
    assert source.url == f"amqp://u:{SECRET}@h/"


@pytest.mark.parametrize(
    "text",
    [
        "password: hunter2\n    x: 1",
        "password: [hunter2]",
        "password: {a: hunter2}",
        "password: *hunter2",
        "password: &hunter2 x",
        "password: !hunter2 x",
        "password: 0123\n    pasword: hunter2",
        "password: |\n      hunter2\n    x: 1",
        "password: >\n      hunter2\n     hunter2\n    : x",
        "password: 'hunter2",
        "password: hunter2: x",
        'password: "hunter2\\q"',
        "password: x\n    password: hunter2",
        "password: x\n    password: [hunter2]",
        "{password: hunter2, x: 1}",
        "password: ${X:-hunter2}\n    username: [1]",
        "url: mqtt://u:hunter2@h\n    x: 1",
        "url: http://u:hunter2@h",
        "url: mqtt://u:hunter2@h:port",
        "url: mqtt://u:hun@hunter2/hunter2@h:port",
        "url: 'mqtt://u:hunter2 hunter2@h'",
        "url: mqtt://u:hunter2@h: x",
        "url: [mqtt://u:hunter2@h",
        "url: http://h?password=hunter2",
        "url: ${SECRET}",
        "url: 'mqtt://u:${SECRET}@h h'",
        "qos: ${SECRET}",
        "decode: ${SECRET}",
        "type: ${SECRET}",
        "keepalive: ${SECRET}",
        "version: ${SECRET}",
        "session_expiry: '${SECRET}'",
        "window: {events: ${SECRET}}",
        "api_token: hunter2",
        "password hunter2",
        "password:hunter2",
        "x: 1\n    password hunter2",
        "x: 1\n    password:hunter2",
        "password: a #hunter2\n    password: x",
        "password: 0123 #hunter2",
        "password: ${a, hunter2}",
        "url: mqtt:/u:hunter2@h",
        "url: u:hunter2@h",
        "url: mqtt:\n      //u:hunter2@h: x",
    ],
)
def test_no_mistake_shows_a_secret(text: str, loaded: Load) -> None:
    """A secret is in no message and in no line under it, wherever the mistake is."""
    with pytest.raises(ConfigError) as caught:
        loaded(f"sources:\n  m:\n    {text}\n    type: mqt\n", SECRET=SECRET)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.diagnostics)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("value", ["${SECRET}", "/run/${SECRET}/x"])
def test_an_unknown_key_is_named_whatever_its_value(value: str, loaded: Load) -> None:
    """The mistake is about the key, which stands in the file; its value is masked all the same."""
    source = f"sources:\n  m:\n    type: mqtt\n    url: mqtts://h\n    tls: {{certificate: '{value}'}}\n"
    with pytest.raises(ConfigError, match="unknown key 'certificate'; it is called cert here") as caught:
        loaded(source, SECRET=SECRET)
    assert SECRET not in str(caught.value)


def test_names_from_the_environment_are_not_repeated(loaded: Load) -> None:
    """A mistake about a substituted name does not say the name."""
    text = "sources:\n  m: {type: mqtt, url: mqtt://h}\nroutes:\n" + "  - {from: '${S}', name: '${S}', actor: a}\n" * 2
    with pytest.raises(ConfigError) as caught:
        loaded(text, S=SECRET)
    assert [diagnostic.message for diagnostic in caught.value.diagnostics] == [
        "no source is named '***'",
        "no source is named '***'",
        "the name '***' is taken",
    ]


def test_a_check_s_words_are_cleaned_of_substituted_text(loaded: Load) -> None:
    """A mistake in an expression that holds a secret does not quote it."""

    def check(_config: Config) -> list[Diagnostic]:
        return [Diagnostic(("routes", 0, "when"), f"unknown name `{SECRET}`", f"near {SECRET}", 3)]

    with pytest.raises(ConfigError) as caught:
        loaded(route("when: payload.a == ${SECRET}"), check, SECRET=SECRET)
    assert SECRET not in str(caught.value)


def test_the_caret_stays_in_its_place_behind_a_masked_password(loaded: Load) -> None:
    """Where a password is left out of the line, the caret still points to the mistake."""
    for password in ("hunter2", "x", "a-very-long-password-indeed"):
        with pytest.raises(ConfigError) as caught:
            loaded(f"sources:\n  m: {{type: mqtt, url: 'mqtt://u:{password}@h', qqq: 1}}\n")
        _, shown, caret = str(caught.value).splitlines()
        assert "mqtt://u:***@h" in shown
        assert shown[caret.index("^") :].startswith("qqq")


def test_a_printed_configuration_holds_no_secret(loaded: Load) -> None:
    """`repr` and `str` of a configuration and of its parts can be logged."""
    config = loaded(
        """\
dramatiq: {url: 'redis://u:${SECRET}@h/0', namespace: '${NAMESPACE}'}
sources:
  m: {type: mqtt, url: 'mqtt://u:hunter2@h', client_id: '${SECRET}'}
  n: {type: mqtt, url: mqtt://h, username: '${SECRET}', password: hunter2}
routes:
  - {from: m, actor: a, args: [{b: 'x ${SECRET}'}], kwargs: {c: '${SECRET}'}}
""",
        SECRET=SECRET,
        NAMESPACE="jobs",
    )
    source = config.sources["n"]
    assert isinstance(source, Mqtt)
    assert source.password is not None
    assert source.password.get_secret_value() == SECRET
    for part in (config, config.dramatiq, config.sources, config.routes, source, source.password):
        assert SECRET not in repr(part)
        assert SECRET not in str(part)
    assert "redis://u:***@h/0" in repr(config)
    assert "jobs" not in repr(config)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:hunter2@h/0", "redis://:***@h/0"),
        ("amqp://u:hunter2@h/v", "amqp://u:***@h/v"),
        ("amqp://u:hun/ter@2@h/v", "amqp://u:***@h/v"),
        ("redis://h/0?password=hunter2&db=1", "redis://h/0?password=***&db=1"),
        ("redis://h/0?password=a@hunter2", "redis://***"),
        ("redis://h/0?pass%77ord=123&client_name=hunter2", "redis://h/0?pass%77ord=***&client_name=***"),
        ("redis://h/0?hunter2", "redis://h/0?***"),
        ("mqtt://h#hunter2", "mqtt://h#***"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("unix:///run/redis@1.sock?db=2", "unix:///run/redis@1.sock?db=2"),
        ("unix://hunter2@/run/redis.sock", "unix://***@/run/redis.sock"),
        # A user name without a password is a token.
        ("mqtt://hunter2@h", "mqtt://***@h"),
        ("mqtt://hunter2:@h", "mqtt://***@h"),
        ("MQTT://hunter2@h", "MQTT://***@h"),
        ("redis://hun%74er2@[::1]:6379/0", "redis://***@[::1]:6379/0"),
        ("amqp://hun/ter2@h/v", "amqp://***@h/v"),
        ("mqtt:///hunter2@h", "mqtt://***@h"),
        ("redis://default:hunter2@h/0", "redis://default:***@h/0"),
        ("mqtt://[::1]:1883", "mqtt://[::1]:1883"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    """Everything but the password can be read, and a token is one: a user name without a password."""
    assert redacted_url(url) == shown
