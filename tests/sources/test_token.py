"""A token as the user name of a URL: in no line of the log, at any level, whatever a library or a server quotes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bridge import cli
from bridge.observe.masking import masked
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.processes import Bridges

TOKEN = "t0ken/+of=bridge"
ENCODED = "t0ken%2F+of=bridge"


@pytest.fixture
def ports(
    rabbitmq: RabbitMQ, new_mosquitto: Callable[..., Mosquitto], new_redis: Callable[..., Redis]
) -> Iterator[dict[str, int]]:
    """Ports of brokers by scheme: Redis and RabbitMQ know the token and forbid everything, mosquitto does not know it."""
    forbidden = "-eval -evalsha -xreadgroup -subscribe"
    redis = new_redis({f"user {TOKEN}": f"on nopass ~* &* +@all {forbidden}"})
    mosquitto = new_mosquitto(user="somebody", password="else")
    # aiormq's password where a URL has none.
    user = f'<<"{TOKEN}">>'
    rabbitmq.ctl("eval", f'rabbit_auth_backend_internal:add_user({user}, <<"guest">>, <<"tests">>).')
    try:
        yield {"redis": redis.port, "mqtt": mosquitto.port, "amqp": rabbitmq.port}
    finally:
        rabbitmq.ctl("eval", f'rabbit_auth_backend_internal:delete_user({user}, <<"tests">>).')


@pytest.mark.parametrize(("beside", "processes"), [(False, 1), (True, 2)], ids=["in the URL", "username:"])
def test_no_line_shows_a_token(ports: dict[str, int], either_bridge: Bridges, *, beside: bool, processes: int) -> None:
    """No library's line and no server's words for the user are logged, at level debug too."""
    token, login = ("", {"username": TOKEN}) if beside else (f"{ENCODED}@", {})
    urls = {scheme: {"url": f"{scheme}://{token}127.0.0.1:{port}", **login} for scheme, port in ports.items()}
    sources = {
        "amqp": {"type": "amqp", **urls["amqp"], "queue": "q"},
        "mqtt": {"type": "mqtt", **urls["mqtt"], "topics": ["t"]},
        "pubsub": {"type": "redis-pubsub", **urls["redis"], "channels": ["c"]},
        "stream": {"type": "redis-stream", **urls["redis"], "streams": ["s"], "group": "g"},
    }
    config = {"dramatiq": dict(urls["redis"]), "sources": sources, "processes": processes}
    bridge = either_bridge(config, arguments=["--log-level", "debug"])
    causes = {name: bridge.wait_for("source.unavailable", source=name)["cause"] for name in sources}
    assert "refused for user '***'" in causes["amqp"]
    bridge.wait_for("sink.unavailable")
    bridge.terminate()
    assert bridge.wait() == 0
    text = "\n".join(bridge.lines)
    assert "t0ken" not in text
    assert beside or f"redis://***@127.0.0.1:{ports['redis']}" in text


def test_what_a_server_quotes_is_masked() -> None:
    """A secret that is a part of another one, and one that is a part of too many words."""
    assert masked("NOPERM User token-one has no permissions", {"token", "token-one", "NO"}) == (
        "NOPERM User *** has no permissions"
    )


def test_send_takes_a_password_from_the_environment(
    new_redis: Callable[..., Redis], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of processes shows the name of a variable only; a character that would change the host is a mistake."""
    redis = new_redis(password="hunter2")
    monkeypatch.setenv("PASSWORD", "hunter2")
    words = ["send", "actor", f"--redis=redis://:${{PASSWORD}}@127.0.0.1:{redis.port}"]
    assert cli.main(words) == 0
    with redis.client() as client:
        assert client.llen("dramatiq:default") == 1
    monkeypatch.setenv("PASSWORD", "hunter2@elsewhere/")
    assert cli.main(words) == 2
    monkeypatch.delenv("PASSWORD")
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert "--redis: the substituted text holds a character that has a meaning in URLs" in err
    assert "--redis: the environment variable PASSWORD is not set" in err
    assert "hunter2" not in err


def test_words_that_are_not_understood_show_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    """A slip in the name of an option does not print the URL behind it, which may go to a log."""
    with pytest.raises(SystemExit):
        cli.main(["send", "actor", "--kwarg", "a=1", "--reddis", "redis://:hunter2@h", "--x=redis://hunter2@h"])
    err = capsys.readouterr().err
    assert "unrecognized arguments: --reddis" in err
    assert "hunter2" not in err
