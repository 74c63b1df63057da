"""`pause`, `resume` and `reload`: orders to a running bridge, each with one line for its result."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bridge.admin import answers
from bridge.commands import reload
from bridge.model.control import Reloaded, ReloadResult
from tests.commands.conftest import Terminal
from tests.support.admin_server import TOKEN, AdminServer, Bridge, make_state


@pytest.fixture
def server() -> Iterator[AdminServer]:
    """The admin server of a bridge, with a token."""
    with AdminServer(Bridge()) as started:
        yield started


def test_pause_and_resume(run: Terminal, server: AdminServer) -> None:
    """One line says what is paused, and what becomes of its events."""
    words = ["--admin", server.listen, "--token", TOKEN]
    assert run("pause", "plant", *words) == (
        "source plant is paused: it finishes the events that it has received, and does not connect until it is resumed\n"
    )
    assert run("pause", "hot", *words) == (
        "route hot is paused: the first batch with a message of it waits, and so does its source behind it\n"
    )
    assert run("resume", "plant", *words) == "source plant is not paused any more\n"
    assert server.bridge.orders == ["pause plant", "pause hot", "resume plant"]


@pytest.mark.parametrize("name", ["a/b?c&d=e#f", "grüße 日本", "%2f", "a+b"])
def test_any_name(run: Terminal, server: AdminServer, name: str) -> None:
    """It comes to the bridge as it was typed, and an unknown one is answered with those that exist."""
    run("pause", name, "--admin", server.listen, "--token", TOKEN, code=1)
    assert "it has plant, orders, hot, note, reserve" in run.err
    assert server.bridge.orders == [f"pause {name}"]


@pytest.mark.parametrize(("name", "says"), [("", "NAME is empty"), ("\udcff", "NAME is not UTF-8 text")])
def test_no_name(run: Terminal, server: AdminServer, name: str, says: str) -> None:
    """Nothing can have it: the bridge is not asked."""
    run("pause", name, "--admin", server.listen, "--token", TOKEN, code=2)
    assert says in run.err
    assert not server.bridge.orders


def test_a_name_that_is_misspelt(run: Terminal, server: AdminServer) -> None:
    """The nearest one is proposed; with many names only some are listed."""
    run("pause", "plants", "--admin", server.listen, "--token", TOKEN, code=1)
    assert "has no source or route 'plants'; did you mean 'plant'?" in run.err
    server.bridge.now = make_state(sources={f"source-{n}": make_state().sources["plant"] for n in range(500)})
    run("resume", "x", "--admin", server.listen, "--token", TOKEN, code=1)
    assert "source-19, …" in run.err


def test_reload(run: Terminal, server: AdminServer) -> None:
    """It is accepted at once; with `--wait` the changes are named in one line."""
    words = ["reload", "--admin", server.listen, "--token", TOKEN]
    assert run(*words).startswith("accepted: ")
    assert run(*words, "--wait") == "reloaded: route x added\n"
    server.bridge.answer = Reloaded("ok")
    assert run(*words, "--wait") == "reloaded: nothing has changed\n"
    server.bridge.answer = Reloaded("ok", [f"route r{n} added" for n in range(1020)])
    assert run(*words, "--wait").endswith("route r19 added and 1,000 more\n")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            Reloaded("refused", cause="processes: 2 is 4 in the file"),
            "dramatiq-bridge: a change that can't be made in a running bridge: processes: 2 is 4 in the file; nothing has",
        ),
        (
            Reloaded("failed", cause="a stop\x1b came"),
            "dramatiq-bridge: the reload has failed: a stop\\x1b came; nothing",
        ),
        (Reloaded("failed", ["route x added"], "disk"), "has failed: disk; changed so far: route x added\n"),
        (
            Reloaded("invalid", cause="b.yaml:1:1: a: unknown key\n    a: 1\n    ^"),
            "b.yaml:1:1: a: unknown key\n    a: 1\n    ^\ndramatiq-bridge: mistakes in the configuration; nothing has changed\n",
        ),
    ],
)
def test_a_reload_that_changes_nothing(run: Terminal, server: AdminServer, answer: Reloaded, says: str) -> None:
    """Exit code 1 and the cause: mistakes of the file as `check` shows them, with their places."""
    server.bridge.answer = answer
    assert run("reload", "--wait", "--admin", server.listen, "--token", TOKEN, code=1) == ""
    assert says in run.err


@pytest.mark.parametrize("result", ["ok", "invalid"])
def test_a_reload_that_takes_long(
    run: Terminal, server: AdminServer, monkeypatch: pytest.MonkeyPatch, result: ReloadResult
) -> None:
    """The server gives its client up, the reload goes on, and `--wait` waits for its end."""
    monkeypatch.setattr(answers, "WAIT_S", 0.1)
    monkeypatch.setattr(reload, "_LOOK_S", 0.05)
    server.bridge.reload_s = 0.5
    server.bridge.answer = Reloaded(result, cause="" if result == "ok" else "b.yaml:1:1: unknown key")
    text = run("reload", "--wait", "--admin", server.listen, "--token", TOKEN, code=0 if result == "ok" else 1)
    assert text == ("reloaded: the log names the changes\n" if result == "ok" else "")
    assert ("b.yaml:1:1: unknown key\n" in run.err) is (result != "ok")
    monkeypatch.setattr(reload, "RELOAD_TIMEOUT_S", 0.1)
    run("reload", "--wait", "--admin", server.listen, "--token", TOKEN, code=1)
    assert "the reload is not over within 0.1 s; the reload may go on" in run.err
