"""`route`: which routes fit, why the others don't, and the exact messages; for people, for scripts and as JSON."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands.conftest import Terminal

HOT = ["route", "CONFIG", "--from=plant", "--topic=plants/3/ovens/7"]
FITS = '--payload={"celsius": 300, "unit": "C"}'


def _routes(run: Terminal, *words: str, code: int = 0) -> dict[str, Any]:
    """Return the results by the routes' names."""
    return {result["route"]: result for result in run.json(*words, code=code)["routes"]}


def test_route_shows_which_routes_fit_and_the_exact_json(run: Terminal) -> None:
    """`route` prints the routes that fit and the exact JSON of their messages."""
    results = _routes(run, *HOT, FITS, "--header=sent-by=me", "--meta=retain=false")
    message = results["hot"]["messages"][0]
    assert message["queue_name"] == "alarms.DQ"
    assert results["hot"]["captures"] == {"plant": "3", "oven": "7"}
    assert message["args"] == ["3", 7, 300]
    assert message["kwargs"] == {"unit": "C", "sent_by": "me"}
    assert message["options"]["eta"] - message["message_timestamp"] == 10_000
    assert results["note"]["messages"][0]["actor_name"] == "note"
    text = run(*HOT, FITS)
    assert "hot: fits; to queue alarms.DQ:" in text
    assert '"actor_name": "raise_alarm"' in text


def test_two_runs_print_the_same(run: Terminal) -> None:
    """With `--at` nothing differs: scripts compare the output of two versions of a file."""
    first = run.json(*HOT, FITS, "--at=2026-11-27T06:00:00Z")
    assert first == run.json(*HOT, FITS, "--at=1795759200000")
    assert first["routes"][0]["messages"][0]["message_timestamp"] == 1_795_759_200_000
    ids = [route["messages"][0]["message_id"] for route in first["routes"]]
    assert len({*ids}) == len(ids) == 2


@pytest.mark.parametrize(
    ("words", "why", "false"),
    [
        (["--payload={}"], "when: `payload.celsius`: no field 'celsius'", [("payload.celsius", {})]),
        (
            ['--payload={"celsius": 1}'],
            "when: `payload.celsius > 250` is false: payload.celsius is 1",
            [("payload.celsius > 250", {"payload.celsius": 1})],
        ),
        (
            ['--payload={"celsius": 300}', "--meta=retain=true"],
            "when: `meta.retain` is true, and `not` wants it false",
            [("meta.retain", {"meta.retain": True})],
        ),
        (
            ["--topic=plants/3"],
            (
                "topic: 'plants/3' does not fit plants/{plant}/ovens/{oven}: the topic ends after level 2, the route takes"
                " 'ovens' next"
            ),
            [],
        ),
    ],
)
def test_route_shows_why_the_others_do_not_fit(run: Terminal, words: list[str], why: str, false: list[Any]) -> None:
    """The part of the topic, or the comparison with the values that it saw."""
    result = _routes(run, *HOT, *words)["hot"]
    assert result["fits"] is False
    assert result["why"] == why
    assert [(part["part"], part["values"]) for part in result.get("false", [])] == false
    assert f"hot: {why}" in run(*HOT, *words)


def test_route_shows_dead_letters(run: Terminal) -> None:
    """`route` prints the reason of each dead letter that the event would become, and exits with 4."""
    results = _routes(run, *HOT, '--payload={"celsius": 300}', code=4)
    assert (results["hot"]["dead_letter"], results["hot"]["why"]) == (
        "missing-field", "kwargs.unit: no field 'unit' in `payload.unit`",
    )  # fmt: skip
    assert "messages" in results["note"]
    assert run.json(*HOT, "--payload=nonsense", code=4)["dead_letter"] == "decode"
    assert run.json(*HOT, "--payload=\udcff", code=4)["dead_letter"] == "decode"
    big = run.json("route", "CONFIG", "--from=orders", "--topic=order.x", f'--payload="{"x" * 2000}"', code=4)
    assert big["dead_letter"] == "too-large"
    assert "dead letter (decode)" in run(*HOT, "--payload=nonsense", code=4)


@pytest.mark.parametrize("payload", ["null", "nonsense"])
def test_route_shows_the_fate_of_an_unmatched_event(run: Terminal, path: Path, payload: str) -> None:
    """An event that fits no topic is dropped or becomes a dead letter, as its source's `unmatched` says; its body is not decoded."""
    path.write_text(path.read_text().replace("password: s3cret-two", "password: s3cret-two, topics: ['#']"))
    words = ["route", "CONFIG", "--from=plant", "--topic=x", f"--payload={payload}"]
    assert "event: no route's topic fits: it is dropped (unmatched: drop)" in run(*words, code=3)
    result = run.json(*words, code=3)
    assert (result["result"], result.get("dead_letter")) == ("none", None)
    result = run.json("route", "CONFIG", "--from=orders", "--topic=x\udcff", f"--payload={payload}", code=4)
    assert result["dead_letter"] == "unmatched"


@pytest.mark.parametrize(
    ("source", "topic", "says"),
    [
        ("plant", "plans/3", "the bridge does not subscribe to this topic: it subscribes to plants/#"),
        ("idle", "x", "the bridge does not subscribe to this channel: it subscribes to c"),
    ],
)
def test_an_event_that_never_comes(run: Terminal, source: str, topic: str, says: str) -> None:
    """Its topic is none that the bridge subscribes to: that is said, and the exit code is 3."""
    words = ["route", "CONFIG", f"--from={source}", f"--topic={topic}"]
    assert run.json(*words, code=3)["why"] == says
    assert f"event: {says}" in run(*words, code=3)


def test_a_route_that_the_source_brings_nothing_for(run: Terminal, path: Path) -> None:
    """The route whose topic fits is listed first, with a verdict of its own; so it is where the body can't be read."""
    path.write_text(path.read_text().replace("password: s3cret-two", "password: s3cret-two, topics: ['idle/#']"))
    result = run.json(*HOT, FITS, code=3)["routes"][0]
    assert (result["route"], result["verdict"], result["fits"]) == ("hot", "not-brought", False)
    assert "hot: its topic fits, but the source does not bring this one\n" in run(*HOT, FITS, code=3)
    result = run.json("route", "CONFIG", "--from=orders", "--topic=order.x", "--payload={", code=4)["routes"][0]
    assert (result["route"], result["verdict"]) == ("reserve", "no-payload")


def test_the_payload_comes_from_a_file_or_a_pipe(
    run: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`@FILE` and `-`, byte for byte."""
    (tmp_path / "body.json").write_bytes(b'{"celsius": 300, "unit": "C"}')
    assert "hot: fits" in run(*HOT, f"--payload=@{tmp_path}/body.json")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"celsius": 1}')))
    assert "payload.celsius is 1" in run(*HOT, "--payload=-")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bytes((64 << 20) + 1))))
    run(*HOT, "--payload=-", code=2)
    assert run.err == "dramatiq-bridge: --payload: standard input is larger than 64MiB\n"
    reading, writing = os.pipe()
    os.write(writing, b'{"celsius": 2}')
    os.close(writing)
    assert "payload.celsius is 2" in run(*HOT, f"--payload=@/dev/fd/{reading}")
    os.close(reading)
    run(*HOT, f"--payload=@{tmp_path}/missing", code=2)
    assert "missing cannot be read: No such file or directory" in run.err


def test_an_unset_variable_ends_nothing(run: Terminal, path: Path) -> None:
    """`route` connects to nothing: it needs no password, and names each reference without a value."""
    path.write_text(path.read_text().replace("s3cret-two", "'${PLANT_PW}'"))
    assert run(*HOT, FITS).endswith("\nnote: ${PLANT_PW} has no value here; a placeholder stands for it\n")
    assert run.json(*HOT, FITS)["unset"] == ["PLANT_PW"]


@pytest.mark.parametrize("token", ["s3cret-token", 's3cret"é', "s3cret" * 40])
def test_a_substituted_value_is_masked(run: Terminal, path: Path, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """It may be a secret: in messages, in `when` and where the event holds it; names of queues are shown."""
    monkeypatch.setenv("TOKEN", token)
    monkeypatch.setenv("PASSWORD", "s3cret-pw")
    monkeypatch.setenv("QUEUE", "alarms")
    text = path.read_text().replace("unit: $payload.unit", 'unit: "${TOKEN}"').replace("alarms", '"${QUEUE}"')
    path.write_text(text.replace("when: payload", """when: payload.pw == '${PASSWORD}' and payload"""))
    hot = [*HOT, '--payload={"celsius": 300, "pw": "s3cret-pw"}']
    assert _routes(run, *hot)["hot"]["messages"][0]["kwargs"] == {"unit": "***", "sent_by": None}
    output = run(*hot)
    assert '"unit": "***"' in output
    assert "to queue alarms.DQ" in output
    cold = [*HOT, f"--payload={json.dumps({'celsius': 1, 'pw': token})}"]
    assert "when: `payload.pw == '***'` is false: payload.pw is \"***" in run(*cold)
    (part,) = _routes(run, *cold)["hot"]["false"]
    assert part["values"] == {"payload.pw": "***"}


def test_a_substituted_value_is_masked_wherever_a_message_has_it(
    run: Terminal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In steps, in a key that Redis remembers, and as the key of a mapping; the names of queues are shown."""
    monkeypatch.setenv("HOOK", "hook-5d3f")
    monkeypatch.setenv("TOKEN", "token-77aa")
    monkeypatch.setenv("QUEUE", "letters")
    path.write_text("""
sources: {plant: {type: mqtt, url: mqtt://localhost}}
tables: {secrets: {values: {hook: "${HOOK}"}}}
routes:
  - name: hot
    from: plant
    topic: plants/#
    foreach: $[payload.unit]
    actor: a
    args: [$item]
    kwargs: '$({lookup("secrets", "hook"): 1})'
    queue_by: {key: $payload.unit, queues: {C: "${QUEUE}"}}
    then: [{actor: b, args: ["${TOKEN}"], options: {note: "${TOKEN}"}}]
    deduplicate: {key: '$f"{item}/{lookup(''secrets'', ''hook'')}"', within: 1h}
""")
    words = [*HOT, FITS]
    for output in (run(*words), run(*words, "--json")):
        assert "token-77aa" not in output
        assert "hook-5d3f" not in output
        assert "letters" in output
    (message,) = _routes(run, *words)["hot"]["messages"]
    assert (message["kwargs"], message["options"]["pipe_target"]["args"]) == ({"***": 1}, ["***"])


def test_headers_and_meta_have_the_types_of_the_protocol(run: Terminal, path: Path) -> None:
    """Of MQTT a header is text, of AMQP a number where it looks like one; a `meta` that is text stays text."""
    path.write_text(
        "sources:\n"
        "  m: {type: mqtt, url: mqtt://localhost}\n"
        "  o: {type: amqp, url: amqp://localhost/, queue: q}\n"
        "  s: {type: redis-stream, url: redis://localhost, streams: [s], group: g}\n"
        "routes:\n"
        "  - {from: m, topic: a, when: 'headers.n == \"5\" and meta.retain == false and meta.qos == 1', actor: text}\n"
        "  - {from: m, topic: b, when: headers.n > 3, actor: number}\n"
        "  - {from: o, actor: act, args: [$headers.n, $meta.message_id, $meta.timestamp, $meta.exchange]}\n"
        "  - {from: s, actor: fields, args: [$payload, $meta.entry_id]}\n"
    )
    assert "text: fits" in run("route", "CONFIG", "--from=m", "--topic=a", "--header=n=5")
    assert "dead letter (wrong-type)" in run("route", "CONFIG", "--from=m", "--topic=b", "--header=n=5", code=4)
    words = ["--header=n=5", "--meta=message_id=123", "--meta=timestamp=2026-11-27T06:00:00Z"]
    (made,) = run.json("route", "CONFIG", "--from=o", *words)["routes"]
    assert made["messages"][0]["args"] == [5, "123", 1_795_759_200_000, ""]
    (made,) = run.json("route", "CONFIG", "--from=s", '--payload={"a": "1"}')["routes"]
    assert made["messages"][0]["args"] == [{"a": "1"}, "1767225600000-0"]
    for words, says in (
        ([], "--payload: the payload is a mapping of the entry's fields, not null"),
        (['--payload={"n": 5}'], "--payload n: a field of an entry is text, not a number"),
    ):
        run("route", "CONFIG", "--from=s", *words, code=2)
        assert says in run.err


@pytest.mark.parametrize(
    ("words", "expect", "code"),
    [
        ([FITS], "fits:hot", 0),
        ([FITS], "fits:note", 0),
        ([FITS], "fits:reserve", 1),
        (['--payload={"celsius": 1}'], "fits:hot", 1),
        ([FITS], "none", 1),
        ([FITS], "dead-letter", 1),
        (["--payload=nonsense"], "dead-letter", 0),
        (["--topic=x"], "none", 0),
        (["--topic=x"], "dead-letter", 1),
    ],
)
def test_a_script_expects_a_result(run: Terminal, words: list[str], expect: str, code: int) -> None:
    """`--expect` turns the exit code into yes or no."""
    run(*HOT, *words, f"--expect={expect}", code=code)
    assert (f"not as expected: {expect}" in run.err) == (code == 1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--from=nobody"], "no source 'nobody' in"),
        (
            ["--from=plant", "--topic=a", "--meta=nope=1"],
            "--meta nope: meta of this source has no 'nope'; it has qos, retain",
        ),
        (["--from=plant", "--topic=a", "--meta=retain=1"], "--meta retain: takes true or false, not a number"),
        (["--from=plant"], "--topic: an event of MQTT has a topic; add the topic that it is published to"),
        (["--from=plant", "--topic=a/+"], "--topic: no event has a topic with the wildcard +"),
        (["--from=orders", f"--header=x={'[' * 900}{']' * 900}"], "--header x: nested more than 64 deep"),
        (["--from=plant", "--header=x"], "--header takes NAME=VALUE, not 'x'"),
        (
            ["--from=plant", "--at=1795885000"],
            "--at takes whole milliseconds since 1970, and 1795885000 of them end before 1973",
        ),
        (["--from=plant", "--at=2026-11-27T06:00:00"], "--at takes a time after 1970 with its zone"),
        (["--from=plant", "--at=tomorrow"], "--at takes a time that exists"),
        (["--from=plant", f"--at={'9' * 5000}"], "--at takes a time that exists"),
        (["--from=plant", "--expect=hot"], "--expect takes fits:ROUTE, none or dead-letter, not 'hot'"),
        (["--from=plant", "--expect=fits:x"], "--expect: no route 'x' in"),
    ],
)
def test_route_refuses_unknown_names(run: Terminal, words: list[str], says: str) -> None:
    """An unknown name, a malformed header or time: errors of one line, with exit code 2."""
    run("route", "CONFIG", *words, code=2)
    assert run.err.startswith("dramatiq-bridge: ")
    assert says in run.err
    assert run.err.count("\n") == 1
