"""The command line: each command's output and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge import cli
from bridge.commands.check import notes
from bridge.config import Config, schema
from tests.support.brokers import Redis
from tests.support.children import REPOSITORY
from tests.support.processes import queue_messages

CONFIG = """\
dramatiq: {url: 'redis://bridge:s3cret-one@localhost:1/0', namespace: workers}
sources:
  plant: {type: mqtt, url: mqtt://localhost:1, username: u, password: s3cret-two}
  orders: {type: amqp, url: 'amqp://bridge:s3cret-three@localhost:1/', queue: orders, max_body: 1KiB}
  idle: {type: redis-pubsub, url: 'redis://localhost:1?password=s3cret-four', channels: [c]}
routes:
  - name: hot
    from: plant
    topic: plants/{plant}/ovens/{oven}
    when: payload.celsius > 250 and not meta.retain
    actor: raise_alarm
    queue: alarms
    args: [$plant, $int(oven), $payload.celsius]
    kwargs: {unit: $payload.unit, sent_by: '$default(headers["sent-by"], null)'}
    delay: 10s
  - {from: plant, topic: plants/#, actor: note}
  - {from: orders, topic: order.#, actor: reserve, args: [$payload]}
"""
NOT_JSON = "can't be written as JSON"
UNREACHED = "Redis did not take the message"
HOT = ["route", "CONFIG", "--from=plant", "--topic=plants/3/ovens/7"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a configuration with secrets; its brokers do not exist."""
    file = tmp_path / "bridge.yaml"
    file.write_text(CONFIG)
    return file


class Terminal:
    """Runs a command in this process; the argument CONFIG stands for the configuration's path."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._path = path
        self._capsys = capsys
        self.err = ""

    def __call__(self, *words: str, code: int = 0) -> str:
        """Return the output; the exit code must be `code`, and no secret is shown."""
        exit_code = cli.main([str(self._path) if word == "CONFIG" else word for word in words])
        out, self.err = self._capsys.readouterr()
        assert exit_code == code, self.err
        assert "s3cret" not in out + self.err
        assert "Traceback" not in self.err
        return out

    def routes(self, *words: str) -> dict[str | None, Any]:
        """Return the results of `route --json` by the routes' names."""
        return {result["route"]: result for result in json.loads(self(*words, "--json"))}


@pytest.fixture
def run(path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """Return a function that runs a command."""
    return Terminal(path, capsys)


def test_check_summarises_a_correct_configuration(run: Terminal, path: Path) -> None:
    """`check` prints the routes and the guarantee of each source as it is configured, without passwords; it connects to nothing."""
    assert (
        run("check", "CONFIG")
        == f"""\
{path}: ok
  dramatiq  redis://bridge:***@localhost:1/0, namespace workers
  plant  mqtt mqtt://localhost:1
    hot: plants/{{plant}}/ovens/{{oven}} -> raise_alarm (queue alarms)
    note: plants/# -> note (queue default)
    guarantee: at most once; no spool, so in an outage of Redis what comes beyond 1000 events or 16MiB is lost
      duplicates: none
      if: a spool
      order: as received, also out of the spool
  orders  amqp amqp://bridge:***@localhost:1/
    reserve: order.# -> reserve (queue default)
    guarantee: at least once
      duplicates: at most the window (1,000) after a crash or a lost connection; with deduplicate none
      if: durable queue, persistent messages; a quorum queue on RabbitMQ 4 has x-delivery-limit: -1 or a dead-letter\
 exchange (AMQP shows nobody which it has)
      order: as received; what is delivered again comes late; with processes only within each of them
  idle  redis-pubsub redis://localhost:1?password=***
    guarantee: at most once; no spool, so in an outage of Redis what comes beyond 4000 events or 16MiB is lost
      duplicates: none with one bridge
      if: a spool
      order: as received, also out of the spool
  note: sources.plant has no client_id, so its session ends with the connection:\
 what is published while the bridge is away is lost
  note: sources.idle has no route
"""
    )


def test_check_notes_settings_that_are_rarely_intended(run: Terminal, path: Path) -> None:
    """A missing $, a topic that the source never brings and a bound for a queue without a route are allowed, with a note."""
    path.write_text(
        'dramatiq: {max_queue_depth: {default: 5, alarm: 5, "*": 9}}\n'
        "sources: {s: {type: redis-pubsub, url: redis://localhost:1, channels: [news]}}\n"
        "routes:\n  - {from: s, topic: nws, actor: a, args: [payload.user, 'no payload.user']}\n"
    )
    output = run("check", "CONFIG")
    assert "note: route a: no topic that sources.s brings fits nws\n" in output
    assert "note: route a: 'payload.user' is text; an expression begins with $, as in $payload.user\n" in output
    assert "note: dramatiq.max_queue_depth: no route writes to the queue alarm\n" in output
    assert output.count("note:") == 3


@pytest.mark.no_cover  # the tracer takes a multiple of the CPU time that is measured
def test_topics_that_no_channel_has_are_found_soon_among_ten_thousand() -> None:
    """In less than 1 s of CPU, and not by asking each route for each channel; the tests run on any machine, so they allow tenfold."""
    source = {"type": "redis-pubsub", "url": "redis://localhost", "channels": [f"c{n}" for n in range(10_000)]}
    routes = [{"from": "s", "name": f"r{n}", "topic": f"c{n}", "actor": "a"} for n in range(1, 10_001)]
    loaded = Config.model_validate({"sources": {"s": source}, "routes": [*routes, {"from": "s", "actor": "all"}]})
    began = time.process_time()
    assert list(notes(loaded)) == ["route r10000: no topic that sources.s brings fits c10000"]
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        ("{arguments: {x-queue-type: quorum}}", "RabbitMQ 4 drops an event that it has delivered 20 times"),
        ("{arguments: {x-queue-type: quorum, x-delivery-limit: 3}}", "drops an event that it has delivered 3 times"),
        ("{durable: false}", "its events are lost when the broker restarts"),
        ("{arguments: {x-message-ttl: 1000}}", "drops an event that has waited for so long, without a trace"),
        ("{arguments: {x-expires: 1000}}", "deletes the queue, and its events, when it was unused"),
        ("{arguments: {x-max-length: 5}}", "drops the oldest events of a longer queue, without a trace"),
        ("{arguments: {x-max-length-bytes: 5, x-overflow: drop-head}}", "drops the oldest events of a larger queue"),
    ],
)
def test_check_notes_a_queue_that_loses_events(run: Terminal, path: Path, declare: str, words: str) -> None:
    """What the file itself declares takes something from the promise: it is said before anything runs."""
    route = "routes: [{from: s, actor: a}]\n"
    path.write_text(f"sources: {{s: {{type: amqp, url: amqp://localhost, queue: q, declare: {declare}}}}}\n{route}")
    assert words in run("check", "CONFIG").partition("note: sources.s declares a")[2]


@pytest.mark.parametrize(
    "arguments",
    [
        "{x-queue-type: quorum, x-delivery-limit: -1}",
        "{x-queue-type: quorum, x-dead-letter-exchange: dlx}",
        '{x-queue-type: quorum, x-message-ttl: 1000, x-dead-letter-exchange: "", x-dead-letter-routing-key: letters}',
        "{x-max-length: 5, x-overflow: reject-publish}",
        "{x-message-ttl: 1000, x-dead-letter-exchange: dlx}",
        "{x-queue-type: classic}",
    ],
)
def test_check_notes_no_queue_that_keeps_events(run: Terminal, path: Path, arguments: str) -> None:
    """A limit with a place for what it removes is meant."""
    source = f"{{type: amqp, url: amqp://localhost, queue: q, declare: {{arguments: {arguments}}}}}"
    path.write_text(f"sources: {{s: {source}}}\nroutes: [{{from: s, actor: a}}]\n")
    assert "note:" not in run("check", "CONFIG")


def test_check_notes_a_shared_subscription_of_mqtt_3_1_1(run: Terminal, path: Path) -> None:
    """It is part of MQTT 5: a broker that does not know it takes it for a topic."""
    source = "{type: mqtt, url: mqtt://localhost, client_id: c, version: 3.1.1, topics: [$share/g/t]}"
    path.write_text(f"sources: {{s: {source}}}\nroutes: [{{from: s, actor: a}}]\n")
    assert "note: sources.s uses a shared subscription with MQTT 3.1.1" in run("check", "CONFIG")


def test_check_finds_a_file_of_tls_that_cannot_be_read(run: Terminal, path: Path, tmp_path: Path) -> None:
    """With its place and its name; of the sink and of every source."""
    tls = f"tls: {{ca: {tmp_path}/ca.pem}}"
    sources = f"  a: {{type: mqtt, url: mqtts://h, {tls}}}\n  b: {{type: amqp, url: 'amqps://h/', queue: q, {tls}}}\n"
    path.write_text(f"dramatiq: {{url: 'rediss://h', {tls}}}\nsources:\n{sources}")
    run("check", str(path), code=78)
    for where in ("dramatiq.tls.ca", "sources.a.tls.ca", "sources.b.tls.ca"):
        assert f"{where}: {tmp_path}/ca.pem cannot be read: No such file or directory" in run.err


def test_check_finds_every_mistake_in_one_go(run: Terminal, path: Path) -> None:
    """Every mistake of the file and of its expressions is printed with line, column and caret; the exit code is 78."""
    path.write_text(CONFIG.replace("$int(oven)", "$itn(oven)").replace("plants/#,", "pl#,"))
    assert run("check", "CONFIG", code=78) == ""
    assert f"{path}:13:21: routes[0].args[1]: there is no function 'itn'; did you mean" in run.err
    assert f"{path}:16:28: routes[1].topic: # must stand alone" in run.err
    assert run.err.endswith("dramatiq-bridge: 2 mistakes in the configuration\n")
    assert " " * 31 + "^" in run.err


@pytest.mark.parametrize("command", ["check", "run", "route", "send"])
def test_exit_code_78_if_the_configuration_is_wrong(run: Terminal, path: Path, command: str) -> None:
    """Every command refuses a configuration that is wrong or missing."""
    more = {"route": ["--from=plant"], "send": []}.get(command, [])
    words = ["send", "a", "--config", "CONFIG"] if command == "send" else [command, "CONFIG", *more]
    path.write_text(CONFIG.replace("queue: alarms", "queue: __alarms"))
    run(*words, code=78)
    assert "cannot begin with __" in run.err
    assert run.err.endswith("dramatiq-bridge: 1 mistake in the configuration\n")
    path.unlink()
    run(*words, code=78)
    assert "cannot be read" in run.err


def test_route_shows_which_routes_fit_and_the_exact_json(run: Terminal) -> None:
    """`route` prints the routes that fit and the exact JSON of their messages."""
    payload = '--payload={"celsius": 300, "unit": "C"}'
    results = run.routes(*HOT, payload, "--header=sent-by=me", "--meta=retain=false")
    message = results["hot"]["message"]
    assert results["hot"]["queue"] == message["queue_name"] == "alarms.DQ"
    assert message["args"] == ["3", 7, 300]
    assert message["kwargs"] == {"unit": "C", "sent_by": "me"}
    assert message["options"]["eta"] - message["message_timestamp"] == 10_000
    assert results["note"]["message"]["actor_name"] == "note"
    text = run(*HOT, payload)
    assert "hot: fits; to queue alarms.DQ:" in text
    assert '"actor_name": "raise_alarm"' in text


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--payload={}"], "when: no field 'celsius' in `payload.celsius > 250 and not meta.retain`"),
        (['--payload={"celsius": 1}'], "when: `payload.celsius > 250 and not meta.retain` is not true"),
        (['--payload={"celsius": 300}', "--meta=retain=true"], "is not true"),
        (["--topic=plants/3"], "the topic does not fit plants/{plant}/ovens/{oven}"),
    ],
)
def test_route_shows_why_the_others_do_not_fit(run: Terminal, words: list[str], why: str) -> None:
    """For a route that does not fit, `route` prints whether its topic or its `when` excludes the event, and at which field."""
    result = run.routes(*HOT, *words)["hot"]
    assert result["fits"] is False
    assert why in result["why"]
    assert "hot: " in run(*HOT, *words)


def test_route_shows_dead_letters(run: Terminal) -> None:
    """`route` prints the reason of each dead letter that the event would become."""
    results = run.routes(*HOT, '--payload={"celsius": 300}')
    assert (results["hot"]["dead_letter"], results["hot"]["why"]) == (
        "missing-field", "kwargs.unit: no field 'unit' in `payload.unit`",
    )  # fmt: skip
    assert "message" in results["note"]
    assert run.routes(*HOT, "--payload=nonsense")[None]["dead_letter"] == "decode"
    assert run.routes(*HOT, "--payload=\udcff")[None]["dead_letter"] == "decode"
    big = run.routes("route", "CONFIG", "--from=orders", "--topic=order.x", f'--payload="{"x" * 2000}"')
    assert big[None]["dead_letter"] == "too-large"
    assert "dead letter (decode)" in run(*HOT, "--payload=nonsense")


@pytest.mark.parametrize("payload", ["null", "nonsense"])
def test_route_shows_the_fate_of_an_unmatched_event(run: Terminal, payload: str) -> None:
    """An event that fits no topic is dropped or becomes a dead letter, as its source's `unmatched` says; its body is not decoded."""
    results = run.routes("route", "CONFIG", "--from=plant", "--topic=x", f"--payload={payload}")
    assert "dropped" in results[None]["why"]
    assert "dead_letter" not in results[None]
    assert results["note"]["why"] == "the topic does not fit plants/#"
    results = run.routes("route", "CONFIG", "--from=orders", "--topic=x\udcff", f"--payload={payload}")
    assert results[None]["dead_letter"] == "unmatched"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--from=nobody"], "no source 'nobody' in"),
        (["--from=plant", "--meta=nope=1"], "--meta: no 'nope'; there are message_id"),
        (["--from=plant", "--header=x"], "--header takes NAME=VALUE, not 'x'"),
    ],
)
def test_route_refuses_unknown_names(run: Terminal, words: list[str], says: str) -> None:
    """An unknown source, an unknown meta name and a malformed header are errors of one line, with exit code 2."""
    run("route", "CONFIG", *words, code=2)
    assert run.err.startswith("dramatiq-bridge: ")
    assert says in run.err
    assert run.err.count("\n") == 1


def test_send_takes_json_or_text(run: Terminal, redis_server: Redis, path: Path) -> None:
    """An ARG is JSON where it parses, otherwise text; `--config` takes the URL of the workers' Redis from a file."""
    path.write_text(
        f"dramatiq: {{url: '{redis_server.url}', namespace: n}}\nsources: {{s: {{type: mqtt, url: mqtt://h}}}}\n"
    )
    words = ["1", "01", "-5", "1e999", "true", "True", "null", "NaN", "", "[1, {}]", "[1", '"1"', "grüße", "a=b"]
    output = run(
        "send",
        "actor",
        *words,
        "--kwarg=a=1",
        "--kwarg=b=x=y",
        "--kwarg=c=",
        "--config=CONFIG".replace("CONFIG", str(path)),
    )
    with redis_server.client() as client:
        (message,) = queue_messages(client, "default", "n")
    assert message["message_id"] == output.strip()
    assert message["args"] == [
        1, "01", -5, "1e999", True, "True", None, "NaN", "", [1, {}], "[1", "1", "grüße", "a=b",
    ]  # fmt: skip
    assert message["kwargs"] == {"a": 1, "b": "x=y", "c": ""}


def test_send_keeps_the_dead_letters_of_the_bridge(run: Terminal, redis_server: Redis) -> None:
    """A message that Redis refuses is an error, and one dead letter more; the others stay."""
    with redis_server.client() as client:
        for number in range(300):  # Redis trims whole nodes, of 100 entries each
            client.xadd("dramatiq-bridge:dead-letters", {"n": number})
        client.set("dramatiq:broken", "not a list")
        run("send", "a", "--queue=broken", f"--redis={redis_server.url}", code=1)
        assert client.xlen("dramatiq-bridge:dead-letters") == 301
    assert "WRONGTYPE" in run.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a", "--queue=__acks__"], "cannot begin with __"),
        (["a", "--queue=x.DQ"], "a queue's name"),
        ([" a"], "takes the name of an actor"),
        (["$a"], "the actor is written out"),
        (["a", "--delay=10"], "a bare number has no unit"),
        (["a", "--kwarg=x"], "--kwarg takes NAME=VALUE"),
        (["a", "[" * 65 + "]" * 65], "nested more than 64 deep"),
        (["a", "\udcff"], NOT_JSON),
        (["a", "--redis=http://u:s3cret@h"], "--redis takes a URL that begins with redis://"),
        (["a", "--redis=redis://u:s3cret@h:port"], "--redis the host or the port"),
        (["a", "--namespace="], "--namespace takes text without spaces"),
        (["a", "--redis=redis://u:s3cret@127.0.0.1:1"], UNREACHED),
    ],
    ids=lambda value: str(value)[:50].encode("ascii", "replace").decode(),
)
def test_send_refuses_wrong_arguments(run: Terminal, words: list[str], says: str) -> None:
    """A message that would damage a worker, or cannot be sent, is an error of one line; a wrong argument has exit code 2."""
    run("send", *words, code=1 if says in {"nested more than 64 deep", NOT_JSON, UNREACHED} else 2)
    assert says in run.err
    assert run.err.count("\n") == 1


def test_exit_code_1_if_redis_refuses_the_message(run: Terminal, redis_server: Redis) -> None:
    """`send` fails if the queue's key is of a wrong type, and prints the reason."""
    with redis_server.client() as client:
        client.set("dramatiq:default", "x")
    run("send", "a", f"--redis={redis_server.url}", code=1)
    assert "WRONGTYPE dramatiq:default holds a string" in run.err


def test_schema_prints_the_json_schema(run: Terminal) -> None:
    """`schema` prints the configuration's JSON Schema."""
    assert json.loads(run("schema")) == schema()


@pytest.mark.parametrize(
    "words",
    [
        *([], ["nonsense"], ["check"], ["check", "a", "b"], ["route", "x"], ["send"], ["run", "x", "--log-level=loud"]),
        ["send", "a", "--redis=redis://h", "--config=x"],
    ],
)
def test_exit_code_2_for_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong arguments print the usage on standard error."""
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: dramatiq-bridge")


def process(*words: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m bridge` with these arguments."""
    command = [sys.executable, "-m", "bridge", *words]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)


def test_python_m_bridge_is_the_same_program(path: Path) -> None:
    """`python -m bridge` has the output and the exit codes of `dramatiq-bridge`: 0, 2 and 78."""
    assert process("--version").stdout == f"dramatiq-bridge {bridge.__version__}\n"
    assert process("check", str(path)).returncode == 0
    assert process("send", "a", "--delay=1").returncode == 2
    assert process("nonsense").returncode == 2
    assert process("check", str(path.with_name("missing.yaml"))).returncode == 78
    assert "usage: dramatiq-bridge" in process("--help").stdout


@pytest.mark.parametrize("words", [["schema"], ["check"]])
def test_a_closed_pipe_makes_no_traceback(path: Path, words: list[str]) -> None:
    """`dramatiq-bridge schema | head` ends quietly with exit code 1, and so does a command with a short output."""
    words = [*words, str(path)] if words == ["check"] else words
    closed = "import os, sys; r, w = os.pipe(); os.dup2(w, 1); os.close(r); os.close(w)"
    program = f"{closed}; from bridge.cli import main; sys.exit(main({words!r}))"
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=REPOSITORY, env=buffered, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 1)
