"""`dead list`, `show` and `export`: all of a letter, harmless on a terminal; and the mistakes of each command line."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import yaml

from bridge import cli
from bridge.dead_letters.export import letter_of_json
from bridge.dry_run.suite import Suite
from tests.support.children import free_port
from tests.support.letters import Desk, order

HOSTILE = "\x1b[31mred\x07\r\n\u202e\u2028<script>"


class Dead:
    """Runs `dead` on a desk's configuration."""

    def __init__(self, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
        self._desk = desk
        self._capsys = capsys
        self.err = ""

    async def __call__(self, action: str, *words: str, code: int = 0, config: bool = True) -> str:
        """Return the output; the exit code must be `code`."""
        target = ["--config", str(self._desk.path)] if config else []
        exit_code = await asyncio.to_thread(cli.main, ["dead", action, *target, *words])
        out, self.err = self._capsys.readouterr()
        assert exit_code == code, out + self.err
        assert "Traceback" not in self.err
        assert not set(out + self.err) & {"\x1b", "\x07", "\r", "\u202e", "\u2028"}
        return out

    async def lines(self, action: str, *words: str) -> list[Any]:
        """Return the JSON of each line of output."""
        return [json.loads(line) for line in (await self(action, *words)).splitlines()]


@pytest.fixture
def dead(desk: Desk, capsys: pytest.CaptureFixture[str]) -> Dead:
    """Return a function that runs `dead`."""
    return Dead(desk, capsys)


async def test_the_list_shows_the_newest_first(desk: Desk, dead: Dead) -> None:
    """Id, age, reason, source, route and topic; then the error. `--limit` shows more."""
    letters = await desk.receive(*(order(b'{"x": %d}' % n, topic=f"order.{n}") for n in range(3)))
    out = (await dead("list", "--limit", "2")).splitlines()
    assert out[0].startswith(f"{letters[2].id}  0s ago  missing-field  orders  route record  order.2")
    assert out[1] == f"    {letters[2].error}"
    assert out[2].startswith(letters[1].id)
    assert out[4] == "the newest 2; there are more: --limit N shows them"
    assert len((await dead("list")).splitlines()) == 6
    await dead("list", "--route", "recrod", code=1)
    assert "no dead letter of route 'recrod'; did you mean 'record'?" in dead.err
    await dead("list", "--source", "zzz", code=1)
    assert "no dead letter of source 'zzz'; the file has orders" in dead.err
    for action in (["list"], ["retry"], ["purge", "--yes"]):
        await dead(*action, "--reason", "missing", code=1)
        assert "no dead letter with the reason 'missing'; did you mean 'missing-" in dead.err
    assert await dead("list", "--reason", "decode") == "no dead letter is so\n"
    assert await dead("list", "--older", "36500d") == "no dead letter is so\n"
    assert len((await dead("list", "--newer", "36500d")).splitlines()) == 6
    assert [one["topic"] for one in await dead.lines("list", "--json", "--text", "ORDER.1")] == ["order.1"]


async def test_redis_that_nobody_named(dead: Dead, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how another one is named, unless somebody has named this one."""
    nobody = f"redis://127.0.0.1:{free_port()}/0"
    monkeypatch.setattr("bridge.commands.redis_target.DEFAULT_URL", nobody)
    for words, hints in (([], True), (["--redis", nobody], False)):
        await dead("list", *words, config=False, code=1)
        assert ("; --config FILE or --redis URL names another" in dead.err) is hints


async def test_filters_alone_choose_for_a_retry(desk: Desk, dead: Dead) -> None:
    """As for a purge: `--all` is asked for only where nothing else says which letters are meant."""
    letters = await desk.receive(*(order(b'{"n": %d}' % n, topic=f"order.{n}") for n in range(2)))
    out = await dead("retry", "--text", "order.1", code=1)
    assert out.startswith("0 retried, 1 failed")
    assert letters[0].id in [one.id for one in await desk.letters()]


async def test_without_letters(dead: Dead, desk: Desk) -> None:
    """Each command says so."""
    assert await dead("list") == "no dead letters\n"
    assert await dead("export") == ""
    assert await dead("retry", "--all") == "no dead letters\n"
    assert await dead("purge", "--all", "--yes") == "0 deleted\n"
    await dead("show", "1-1", code=1)
    assert "there is no dead letter 1-1" in dead.err
    assert await dead("list", "--redis", desk.server.url, config=False) == "no dead letters\n"


async def test_show_has_the_event_the_reason_and_the_place(desk: Desk, dead: Dead) -> None:
    """The route's line in the file too."""
    (letter,) = await desk.receive(order(b'{"x": [1, 2]}', {"h": "v"}, message_id="m-1"))
    out = await dead("show", letter.id)
    assert f"reason      missing-field\nerror       {letter.error}\n" in out
    line = next(n for n, text in enumerate(desk.path.read_text().splitlines(), 1) if "actor: record" in text)
    assert f"route       record ({desk.path}:{line})" in out
    assert 'headers     {"h": "v"}' in out
    assert '"message_id": "m-1"' in out
    assert "received    2025-11-27 06:00:00 UTC" in out
    assert '    {\n      "x": [\n' in out
    desk.write_config([{"from": "orders", "actor": "record", "args": ["$int(payload.x)"]}])
    await dead("retry", letter.id, code=1)
    (after,) = await desk.letters()
    assert f"missing-field: {letter.error}" in await dead("show", after.id)
    assert "  failed again  order." in await dead("list")
    for action in (["retry"], ["purge", "--yes"]):
        assert f"{letter.id}: gone: retried, purged, or never there; one that failed" in await dead(
            *action, letter.id, code=1
        )
    assert "; the new letter is " in await dead("retry", after.id, "--through", "record", code=1)
    (after,) = await desk.letters()
    assert "  failed again 2 times  order." in await dead("list")
    shown = json.loads(await dead("show", after.id, "--json"))
    assert letter_of_json(shown) == after


async def test_the_place_is_that_in_an_included_file(desk: Desk, dead: Dead) -> None:
    """Not in the file that includes it."""
    (letter,) = await desk.receive(order(b"{}"))
    content = yaml.safe_load(desk.path.read_text())
    included = desk.path.with_name("routes.yaml")
    included.write_text("# routes\n" + yaml.safe_dump({"routes": content.pop("routes")}))
    desk.path.write_text(yaml.safe_dump(content | {"include": ["routes.yaml"]}))
    assert f"route       record ({included}:3)" in await dead("show", letter.id)


async def test_a_letter_as_a_test(desk: Desk, dead: Dead) -> None:
    """The text is an item of `tests:`, and holds."""
    (letter,) = await desk.receive(order(b'{"x": 1}', {"h": "v"}))
    text = await dead("show", letter.id, "--as-test")
    content = yaml.safe_load(desk.path.read_text()) | {"tests": yaml.safe_load(text)}
    desk.path.write_text(yaml.safe_dump(content))
    (result,) = Suite(str(desk.path)).run([0])
    assert result.differences == []
    assert content["tests"][0]["expect_dead_letter"] == {"reason": "missing-field", "route": "record"}


async def test_an_event_that_is_not_whole_is_no_test(desk: Desk, dead: Dead) -> None:
    """The error says which letter it is, and why: a body that `redact` has left out was not cut."""
    content = yaml.safe_load(desk.path.read_text())
    desk.write_config(content["routes"], dead_letters={"redact": ["payload"]})
    (letter,) = await desk.receive(order(b'{"x": 1}'))
    await dead("show", letter.id, "--as-test", code=1)
    assert (
        f"the body of {letter.id} was left out by dead_letters.redact: a test would be one of another event" in dead.err
    )


@pytest.mark.parametrize(
    "body", [b"\xff\x00" * 5000, HOSTILE.encode(), b'"' + HOSTILE.encode() + b'"', b"x" * 200_000, b""]
)
async def test_hostile_contents_do_nothing_to_a_terminal(desk: Desk, dead: Dead, body: bytes) -> None:
    """Control characters, bytes, huge bodies: escaped, and cut; an export has all of them, and loads back."""
    (letter,) = await desk.receive(order(body, {HOSTILE: HOSTILE}, topic=f"order.{HOSTILE}", message_id=HOSTILE))
    assert letter.id in await dead("list")
    out = await dead("show", letter.id)
    assert len(out) < 60_000
    assert ("more bytes: --json" in out or "more characters: --json" in out) is (len(body) > 9000)
    (line,) = await dead.lines("export")
    assert letter_of_json(line) == letter
    assert (letter.body, letter.headers, letter.meta["message_id"]) == (body, {HOSTILE: HOSTILE}, HOSTILE)
    await dead("show", letter.id, "--as-test")


async def test_an_export_has_every_letter(desk: Desk, dead: Dead) -> None:
    """The oldest first; each line loads back as it was."""
    letters = await desk.receive(*(order(b'{"n": %d, "x": "\\u00fc"}' % n, {"h": n}) for n in range(250)))
    assert [letter_of_json(line) for line in await dead.lines("export")] == letters
    assert [line["headers"] for line in await dead.lines("export", "--text", '"n": 17,')] == [{"h": 17}]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("list", "--queue", "q"), "--queue goes with --workers"),
        (("list", "--workers", "--reason", "decode"), "--reason: a message of a worker has none"),
        (("show", "soon"), "ID: 'soon' is no dead letter's; they are as in 1795759200000-0"),
        (("retry",), "dead retry takes IDs as `dead list` shows them, filters, or --all"),
        (("retry", "1-1", "--all"), "give IDs, or --all"),
        (("retry", "1-1", "--source", "s"), "--source chooses among all letters"),
        (("retry", "--all", "--through", "nope"), "--through: no route 'nope' in"),
        (("retry", "1-1", "--route", "record", "--as-is"), "--as-is goes through all routes, --route through one"),
        (("retry", "--workers", "--all", "--through", "record"), "a message of a worker goes back to its queue"),
        (("purge", "--all"), "purge asks on a terminal; here it needs --yes"),
        (("purge", "1-1", "--older", "1h"), "--older chooses among all letters"),
    ],
)
async def test_mistakes(dead: Dead, words: tuple[str, ...], says: str) -> None:
    """Exit code 2, and words."""
    await dead(*words, code=2)
    assert says in dead.err


async def test_retry_needs_the_routes(dead: Dead, desk: Desk) -> None:
    """By `--redis` alone there are none; and a variable of the routes must have its value."""
    await dead("retry", "--all", "--redis", desk.server.url, code=2, config=False)
    assert "retry needs --config" in dead.err
    (letter,) = await desk.receive(order(b"{}"))
    await dead("show", letter.id, "--as-test", "--redis", desk.server.url, code=2, config=False)
    text = desk.path.read_text()
    desk.path.write_text(text.replace("amqp://localhost/", "amqp://u:${UNSET_PASSWORD}@localhost/"))
    await dead("retry", letter.id, code=1)
    desk.path.write_text(text.replace("$payload.id", "${UNSET_VALUE}"))
    assert letter.id not in await dead("retry", "--all", code=78)
    assert "${UNSET_VALUE} has no value here" in dead.err
    assert len(await desk.letters()) == 1


async def test_a_redis_that_is_away(dead: Dead) -> None:
    """In words, without a password."""
    for action in ("list", "export"):
        await dead(action, "--redis", "redis://u:s3cret-pass@127.0.0.1:1", code=1, config=False)
        assert "Redis: " in dead.err
        assert "s3cret" not in dead.err
