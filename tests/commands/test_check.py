"""`check`: a summary, the notes, and every mistake with its place; for people and as JSON."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bridge.commands.notes import notes
from bridge.config import Config
from tests.commands.conftest import CONFIG, Terminal


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
      duplicates: at most the window (1,000 by default) of each process after a crash or a lost connection; with deduplicate none
      if: durable queue, persistent messages; a quorum queue on RabbitMQ 4 has x-delivery-limit: -1 or a dead-letter\
 exchange (AMQP shows nobody which it has)
      order: as received; what is delivered again comes late; with processes only within each of them
  idle  redis-pubsub redis://localhost:1?password=***
    guarantee: at most once; no spool, so in an outage of Redis what comes beyond 4000 events or 16MiB is lost
      duplicates: none with one bridge
      if: a spool
      order: as received, also out of the spool
  {path}:3:3: note: sources.plant has no client_id, so its session ends with the connection:\
 what is published while the bridge is away is lost
  {path}:5:3: note: sources.idle has no route
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


def test_a_table_that_nothing_looks_up_is_noted(run: Terminal, path: Path) -> None:
    """In routes, and in keys of deduplication."""
    path.write_text(
        "sources:\n"
        "  s: {type: mqtt, url: mqtt://localhost:1, client_id: c, deduplicate: {key: '$lookup(\"a\", payload.id)'}}\n"
        "tables: {a: {values: {}}, b: {values: {}}, c: {values: {}}, d: {values: {}}}\n"
        "routes:\n  - from: s\n    actor: a\n    when: lookup('b', 1)\n    kwargs: {x: ['$lookup (\"c\", 1)']}\n"
    )
    output = run("check", "CONFIG")
    assert "note: tables.d: no expression looks it up\n" in output
    assert output.count("note: tables") == 1


def test_a_table_of_a_step_or_a_key_is_looked_up(run: Terminal, path: Path) -> None:
    """In `then`, `queue_by` and `deduplicate`, which are mappings of their own."""
    path.write_text(
        "sources: {s: {type: mqtt, url: mqtt://localhost:1, client_id: c}}\n"
        "tables: {a: {values: {}}, b: {values: {}}, c: {values: {}}}\n"
        "routes:\n  - from: s\n    actor: a\n    then: [{actor: b, args: ['$lookup(\"a\", payload.id)']}]\n"
        "    queue_by: {key: '$lookup(\"b\", payload.id)', queues: {x: y}}\n"
        "    deduplicate: {key: '$lookup(\"c\", payload.id)'}\n"
    )
    assert "note: tables" not in run("check", "CONFIG")


def test_a_field_that_is_never_found_is_not_redacted_in_silence(run: Terminal, path: Path) -> None:
    """A body with `decode: bytes` has no fields: it would be kept whole."""
    path.write_text(
        "dead_letters: {redact: [payload.card, headers.h]}\n"
        "sources:\n"
        "  s: {type: redis-pubsub, url: redis://localhost:1, channels: [news], decode: bytes}\n"
        "routes: [{from: s, actor: a}]\n"
    )
    output = run("check", "CONFIG")
    assert (
        "note: dead_letters.redact: sources.s has decode: bytes, so its payloads have no field payload.card; write payload to redact them whole\n"
        in output
    )
    assert output.count("note: dead_letters") == 1
    path.write_text(path.read_text().replace("payload.card, ", "payload, "))
    assert "note: dead_letters" not in run("check", "CONFIG")


def test_keys_of_bodies_without_effect(run: Terminal, path: Path) -> None:
    """Kinds that are no JSON or text; a `decode` that is the source's; a stream whose payload is made of fields."""
    path.write_text(
        "sources:\n"
        "  s: {type: redis-pubsub, url: redis://localhost:1, channels: [news], decode: cbor, lenient: true, charset: utf-16}\n"
        "  x: {type: redis-stream, url: redis://localhost:1, streams: [x], group: g, empty: drop}\n"
        "routes: [{from: s, actor: a, decode: cbor}, {from: x, actor: b}]\n"
    )
    output = run("check", "CONFIG")
    assert "note: sources.s: lenient has no effect: no body of it is read as JSON\n" in output
    assert "note: sources.s: charset has no effect: no body of it is read as text\n" in output
    assert "note: sources.x: empty has no effect: the payload is made of an entry's fields\n" in output
    assert "note: route a: decode: cbor is that of sources.s; leave it out\n" in output
    assert output.count("note:") == 4
    path.write_text(path.read_text().replace("actor: a, decode: cbor", "actor: a, decode: json-or-text"))
    assert run("check", "CONFIG").count("note:") == 1


@pytest.mark.no_cover  # the tracer takes a multiple of the CPU time that is measured
def test_topics_that_no_channel_has_are_found_soon_among_ten_thousand() -> None:
    """In less than 1 s of CPU, and not by asking each route for each channel; the tests run on any machine, so they allow tenfold."""
    source = {"type": "redis-pubsub", "url": "redis://localhost", "channels": [f"c{n}" for n in range(10_000)]}
    routes = [{"from": "s", "name": f"r{n}", "topic": f"c{n}", "actor": "a"} for n in range(1, 10_001)]
    loaded = Config.model_validate({"sources": {"s": source}, "routes": [*routes, {"from": "s", "actor": "all"}]})
    began = time.process_time()
    assert [note.message for note in notes(loaded)] == ["route r10000: no topic that sources.s brings fits c10000"]
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


def test_check_as_json(run: Terminal, path: Path) -> None:
    """Every file with its mistakes and notes, each at its place; the exit code is 78 if one has a mistake."""
    other = path.with_name("other.yaml")
    other.write_text(CONFIG.replace("$int(oven)", "$itn(oven)"))
    good, bad = run.json("check", "CONFIG", str(other), code=78)
    assert (good["file"], good["ok"], good["mistakes"]) == (str(path), True, [])
    assert [(note["line"], note["column"]) for note in good["notes"]] == [(3, 3), (5, 3)]
    (mistake,) = bad["mistakes"]
    assert (mistake["line"], mistake["column"], mistake["where"]) == (13, 21, "routes[0].args[1]")
    assert not bad["ok"]


def test_check_reports_every_file(run: Terminal, path: Path) -> None:
    """A mistake in the first one keeps no other from being checked."""
    other = path.with_name("other.yaml")
    other.write_text(CONFIG.replace("$int(oven)", "$itn(oven)"))
    assert f"{path}: ok" in run("check", str(other), "CONFIG", code=78)
    assert f"{other}:13:21" in run.err


def test_check_reads_the_tests_beside_a_file(run: Terminal, path: Path) -> None:
    """`*.yaml` names them too; a mistake in them is one of `check` as well as of `test`."""
    beside = path.with_name("bridge_test.yaml")
    beside.write_text("tests: [{name: a, event: {from: plant, topic: a}, expect: [{route: hto}]}]\n")
    run("check", str(beside), "CONFIG", code=78)
    assert f"{beside}:1:68: tests[0].expect[0].route: no route is named 'hto'; routes: hot" in run.err
    assert run.err.endswith("1 mistake in the configuration\n")
    (report,) = run.json("check", "CONFIG", str(beside), code=78)
    assert (report["file"], report["ok"], len(report["mistakes"])) == (str(path), False, 1)
    beside.write_text(beside.read_text().replace("hto", "hot"))
    assert f"{path}: ok" in run("check", "CONFIG", str(beside))


def test_check_allow_unset_puts_placeholders(run: Terminal, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In CI no secret is set: a placeholder of the type that its key takes stands for each, and is named."""
    monkeypatch.setenv("SET", "s3cret-five")
    path.write_text(
        'dramatiq: {url: "redis://u:${PW}@${HOST}/0", timeout: "${TIMEOUT}", max_memory: "${SHARE}", password: "${SET}"}\n'
        "processes: ${N}\n"
        'log: {level: "${LEVEL}"}\n'
        'spool: {directory: "${file:/nowhere/dir}", max_size: "${SIZE}"}\n'
        "sources:\n"
        '  m: {type: mqtt, url: "${MQTT}", qos: "${QOS}", tls: {ca: "${credential:ca}"}}\n'
        '  a: {type: amqp, url: "amqp://${HOST}:${PORT}/", queue: "${QUEUE}", fast_path: "${FAST}"}\n'
        "routes:\n"
        '  - {from: m, actor: "${ACTOR}", args: ["${ARG}"]}\n'
    )
    run("check", "CONFIG", code=78)
    assert run.err.count("is not set") == 16
    path.write_text(path.read_text().replace('password: "${SET}"', 'username: "${SET}"').replace("u:${PW}@", ""))
    output = run("check", "CONFIG", "--allow-unset")
    assert "note: ${LEVEL} has no value here; a placeholder stands for it" in output
    assert "note: ${credential:ca} has no value here" in output
    assert "${SET}" not in output


def test_check_allow_unset_forgives_nothing_else(run: Terminal, path: Path) -> None:
    """A mistake beside an unset variable, or in its syntax, is one."""
    path.write_text('sources: {m: {type: mqtt, url: "${MQTT}", qos: 7}, n: {type: mqtt, url: "mqtt://${"}}\n')
    run("check", "CONFIG", "--allow-unset", code=78)
    assert "sources.m.qos: takes 0 or 1" in run.err
    assert "sources.n.url: a ${ that is not closed" in run.err
    assert run.err.endswith("2 mistakes in the configuration\n")


@pytest.mark.parametrize(
    ("route", "code"),
    [
        ('{from: m, actor: a, when: "payload.a > ${LIM}"}', 0),
        ('{from: m, actor: a, when: "payload.${FIELD} > 3"}', 3),
        ('{from: "${SRC}", topic: "a.*.b", actor: a, args: [payload.a]}', 3),
        ('{from: m, actor: alarm, queue: "${QUEUE}", args: [low]}', 0),
        ('{from: m, actor: "${ACTOR}"}', 0),
        ('{from: m, actor: alarm, args: ["${LEVEL}"]}', 0),
        ('{from: m, actor: alarm, args: [low], options: {on_failure: "${FAIL}"}}', 0),
        ('{from: m, actor: alarm, args: [low], options: {pipe_target: {actor_name: "${NEXT}"}}}', 0),
    ],
)
def test_a_placeholder_is_no_mistake(run: Terminal, path: Path, route: str, code: int) -> None:
    """Nothing can be known of a value that is not set on this machine: neither as an expression nor by the manifest."""
    parameter = '{"name": "level", "kind": "positional-or-keyword", "values": ["low", "high"], "required": true}'
    path.with_name("actors.json").write_text(
        '{"manifest": 1, "dramatiq": "2.2.1", "modules": [], "actors":'
        f' {{"alarm": {{"queue": "alarms", "parameters": [{parameter}]}}, "a": {{"queue": "default", "parameters":'
        ' [{"name": "more", "kind": "var-positional"}]}}}'
    )
    source = "m: {type: mqtt, url: mqtt://h, client_id: c}"
    path.write_text(f"manifest: actors.json\nsources: {{{source}}}\nroutes:\n  - {route}\n")
    assert "note: ${" in run("check", "CONFIG", "--allow-unset")
    run("route", "CONFIG", "--from=m", "--topic=x", '--payload={"a": 2}', code=code)
    path.write_text(path.read_text().replace("actor: alarm,", "actor: alrm,").replace("actor: a,", "actor: b,"))
    run("check", "CONFIG", "--allow-unset", code=0 if '"${ACTOR}"' in route else 78)


def test_a_note_masks_substituted_values(run: Terminal, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A note quotes a text of the file, which may hold a secret."""
    monkeypatch.setenv("TOKEN", "s3cret-token")
    path.write_text(CONFIG.replace("$payload.unit", '"${TOKEN} {oven}"'))
    assert "'{oven}' is text; $f\"*** {oven}\" puts values into one" in run("check", "CONFIG")


def test_brokers_without_a_name_are_not_taken_for_one(run: Terminal, path: Path) -> None:
    """Two URLs without a value may lead to two brokers, so both sources may have one client_id."""
    sources = [f'{name}: {{type: mqtt, url: "mqtt://${{{name}_HOST}}", client_id: c}}' for name in "ab"]
    path.write_text(f"sources: {{{', '.join(sources)}}}\n")
    run("check", "CONFIG", "--allow-unset")


def test_a_manifest_without_a_value_is_left_out(run: Terminal, path: Path) -> None:
    """There is no file to read; an actor is then checked as one without a manifest is."""
    path.write_text(f'manifest: "${{MANIFEST}}"\nenforce_manifest: true\n{CONFIG}')
    assert "note: ${MANIFEST} has no value here" in run("check", "CONFIG", "--allow-unset")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('f"oven {oven}"', 'as in $f"oven {oven}"'),
        ("int(oven)", "as in $int(oven)"),
        ("default(payload.unit, 1)", "as in $default(payload.unit, 1)"),
        ("payload.unit", "as in $payload.unit"),
    ],
)
def test_a_forgotten_dollar_is_noted(text: str, meant: str, run: Terminal, path: Path) -> None:
    """With the text that works."""
    path.write_text(CONFIG.replace("unit: $payload.unit", f"unit: '{text}'"))
    assert f"is text; an expression begins with $, {meant}" in run("check", "CONFIG")


def test_an_expression_is_no_text(run: Terminal, path: Path) -> None:
    """A capture in an f-string is what it looks like."""
    path.write_text(CONFIG.replace("unit: $payload.unit", """text: '$f"oven {oven} of {plant}: {payload.unit}"'"""))
    assert "is text" not in run("check", "CONFIG")


def test_check_reads_standard_input(path: Path, tmp_path: Path) -> None:
    """Its places say so, and the files that it names lie in the current folder."""
    (tmp_path / "actors.json").write_text(
        '{"manifest": 1, "dramatiq": "2.2.1", "modules": [], "actors": {"other": {"queue": "default", "parameters": []}}}'
    )
    text = path.read_text() + "manifest: actors.json\n"
    command = [sys.executable, "-m", "bridge", "check", "-"]
    done = subprocess.run(command, cwd=tmp_path, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 78
    assert "/dev/stdin:11:12: routes[0].actor: the application has no actor 'raise_alarm'" in done.stderr
    ours, its = socket.socketpair()  # as Node gives to a child
    with ours, its:
        ours.sendall(text.encode())
        ours.shutdown(socket.SHUT_WR)
        command = [*command, "--json"]
        done = subprocess.run(
            command, cwd=tmp_path, stdin=its.fileno(), capture_output=True, text=True, timeout=60, check=False
        )
    (report,) = json.loads(done.stdout)
    assert report["file"] == report["mistakes"][0]["file"] == "/dev/stdin"
    assert report["mistakes"][0]["line"] == 11


@pytest.mark.parametrize(
    ("when", "fields"),
    [
        ("payload.on", {"payload.on": "payload.on == true"}),
        ("payload.a == 1 and not payload.on", {"payload.on": "payload.on == true"}),
        (
            "default(payload.on, false) or headers.x",
            {
                "default(payload.on, false)": "default(payload.on, false) == true",
                "headers.x": 'headers.x == "true", or bool(headers.x)',
            },
        ),
        (
            "payload.b == true if payload.on else plant",
            {"plant": 'plant == "true", or bool(plant)', "payload.on": "payload.on == true"},
        ),
        ("len(x for x in payload.xs if x.on) > 1", {"x.on": "x.on == true"}),
        ("payload.on == true and has(payload.x) and not meta.retain and len(topic) > 3", {}),
    ],
)
def test_check_notes_a_field_that_is_a_condition(when: str, fields: dict[str, str], run: Terminal, path: Path) -> None:
    """For Python the text "false" is true; the note stands at the field."""
    path.write_text(
        "sources: {s: {type: mqtt, url: mqtt://localhost:1, client_id: a, session_expiry: 1h}}\n"
        f"routes:\n  - from: s\n    topic: 'a/{{plant}}'\n    actor: a\n    when: {json.dumps(when)}\n"
    )
    (report,) = json.loads(run("check", "CONFIG", "--json"))
    found = [note for note in report["notes"] if "is true for every text" in note["message"]]
    assert [note["message"] for note in found] == [
        f'route a: `{field}` is true for every text, also for "false"; write {remedy}'
        for field, remedy in fields.items()
    ]
    assert [note["line_text"] for note in found] == [""] * len(fields)
    assert [note["column"] for note in found] == [12 + when.index(field) for field in fields]
