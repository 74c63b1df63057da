"""`top`: the same numbers as `status`, as events a second; keys sort and filter; the terminal is always left as it was."""

from __future__ import annotations

import os
import pty
import re
import signal
import termios
from collections.abc import Iterator
from contextlib import suppress

import pytest

from bridge.commands import top
from bridge.commands.admin_client import Status, Unreachable
from bridge.commands.keyboard import Keyboard
from bridge.commands.rates import Look, rates
from bridge.commands.top_view import View
from bridge.model.accounting import RouteCounts
from bridge.model.state import BridgeState, QueueState, RouteState, SourceState
from tests.commands.conftest import Terminal
from tests.support.admin_server import AdminServer, Bridge, make_state
from tests.support.terminal import Terminal as Screen


class Busy(Bridge):
    """Between two looks 100 events come to `plant`."""

    def state(self) -> BridgeState:
        plant = self.now.sources["plant"]
        plant.counts.received += 100
        plant.counts.enqueued += 40
        plant.counts.dead_lettered += 5
        plant.counts.routes["hot"].add(RouteCounts(40, 55, 5))
        return self.now


@pytest.fixture
def server() -> Iterator[AdminServer]:
    """The admin server of a busy bridge."""
    with AdminServer(Busy()) as started:
        yield started


def _row(text: str, name: str) -> list[str]:
    """Return the cells of the row that begins with a name."""
    (line,) = [line for line in text.splitlines() if line.split()[:1] == [name]]
    return line.split()


def test_routes_that_leave_messages_or_events_out(run: Terminal, server: AdminServer) -> None:
    """Columns with their numbers since the start, where a route has any."""
    arguments = ("top", "--once", "--interval", "200ms", "--admin", server.listen)
    assert "deduplicated" not in (text := run(*arguments))
    assert "expired" not in text
    server.bridge.now.sources["plant"].counts.routes["hot"].deduplicated = 1_204
    text = run(*arguments)
    assert (_row(text, "hot")[-1], _row(text, "note")[-1], _row(text, "route")[-1]) == ("1,204", "0", "deduplicated")


def test_one_table(run: Terminal, server: AdminServer) -> None:
    """`--once` needs no terminal: rates of sources and routes after one interval, and the queues; no line is cut."""
    server.bridge.now.sources["n" * 150] = SourceState("mqtt", connected=True)
    server.bridge.now.routes["note"].paused = True
    text = run("top", "--once", "--interval", "200ms", "--admin", server.listen)
    assert text.startswith(f"dramatiq-bridge 1.2.3 at {server.listen}: ready, up 1d 1h")
    assert "\x1b" not in text
    name, word, came, enqueued, filtered, dead, lost, in_flight, spooled, window = _row(text, "plant")
    assert (name, word, filtered, lost, in_flight, spooled, window) == ("plant", "connected", "0", "0", "3", "0", "12%")
    assert 0 < float(came) <= 500
    assert float(enqueued) == pytest.approx(float(came) * 0.4, rel=0.02)
    assert float(dead) == pytest.approx(float(came) * 0.05, rel=0.02)
    assert _row(text, "hot")[1:5] == ["plant", "alarms", came, enqueued]
    assert _row(text, "reserve")[1:] == ["orders", "default", "0", "0", "0", "0"]
    assert _row(text, "note")[:2] == ["note", "(paused)"]
    assert _row(text, "alarms") == ["alarms", "7", "0", "2", "0"]
    assert "n" * 150 in text


def test_sort_and_filter(run: Terminal, server: AdminServer) -> None:
    """`--sort` puts the greatest first, `--filter` leaves the names with this text."""
    words = ["top", "--once", "--interval=100ms", "--admin", server.listen]
    names = re.findall(r"^(plant|orders|hot|note|reserve) ", run(*words, "--sort", "name"), re.MULTILINE)
    assert names == ["orders", "plant", "hot", "note", "reserve"]
    names = re.findall(r"^(plant|orders|hot|note|reserve) ", run(*words, "--sort", "dead"), re.MULTILINE)
    assert names == ["plant", "orders", "hot", "note", "reserve"]
    text = run(*words, "--filter", "ORD")
    assert re.findall(r"^(plant|orders|hot|note|reserve|alarms) ", text, re.MULTILINE) == ["orders", "reserve"]
    assert "with 'ORD'" in text


def test_queues_that_are_not_known(run: Terminal, server: AdminServer) -> None:
    """The cause stands in their place."""
    server.bridge.now = make_state(queues={}, queues_cause="NOPERM\x1b")
    server.bridge.now.sources["plant"].connected = False
    text = run("top", "--once", "--interval=100ms", "--admin", server.listen)
    assert "queues: not known: NOPERM\\x1b" in text
    assert "NOT READY" in text
    assert _row(text, "plant")[1:3] == ["not", "connected"]


def test_without_a_terminal(run: Terminal, server: AdminServer) -> None:
    """The words name `--once`; a bridge that is not there is said at once."""
    run("top", "--admin", server.listen, code=2)
    assert "top needs a terminal; --once prints one table without one" in run.err
    run("top", "--once", "--admin", "unix:/nowhere.sock", code=1)
    assert "is the bridge running" in run.err


def test_a_terminal_that_can_not_be_drawn_on(server: AdminServer) -> None:
    """TERM=dumb: the words name `--once`."""
    with Screen(["top", "--admin", server.listen], kind="dumb") as screen:
        assert screen.wait() == 2
        assert "top can't draw on this terminal (TERM=dumb); --once prints one table" in screen.text


def test_without_rich(run: Terminal, server: AdminServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra, and the words say how to install it."""
    monkeypatch.setattr(top, "find_spec", lambda _name: None)
    run("top", "--once", "--admin", server.listen, code=1)
    assert "top needs rich: pip install '.[top]' in a checkout, or pip install rich" in run.err


@pytest.mark.parametrize("interval", ["0s", "10", "99ms", "x"])
def test_a_wrong_interval(run: Terminal, interval: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It has a unit, and is at least 100ms."""
    with pytest.raises(SystemExit) as caught:
        run("top", "--interval", interval)
    assert caught.value.code == 2
    assert "argument --interval: takes a duration" in capsys.readouterr().err


def _status(state: BridgeState) -> Status:
    fields = {name: getattr(state, name) for name in state.__struct_fields__}
    return Status(**fields, ready=True)


def test_counts_that_begin_anew_have_no_rate() -> None:
    """Those of a bridge that has started anew, and of one process of several that has; a new source has none yet."""
    before, after = make_state(), make_state()
    after.started_at = before.started_at
    after.sources["plant"].counts.received = 3
    after.sources["new"] = SourceState("mqtt")
    after.routes["added"] = RouteState("plant", "a", "q")
    after.sources["orders"].counts.received = 30
    found = rates(Look(_status(before), 10.0), Look(_status(after), 12.0))
    assert set(found.sources) == {"orders"}
    assert found.sources["orders"].came == 15
    assert set(found.routes) == {"hot", "note", "reserve"}
    after.sources["plant"].counts.routes["hot"].matched = 0
    assert set(rates(Look(_status(before), 10.0), Look(_status(after), 12.0)).routes) == {"note", "reserve"}
    after.started_at += 1
    assert not rates(Look(_status(before), 10.0), Look(_status(after), 12.0)).sources


def test_a_route_that_gets_its_first_event_has_a_rate() -> None:
    """Its source has no counts of it before."""
    before, after = make_state(), make_state()
    after.started_at = before.started_at
    after.sources["orders"].counts.routes["reserve"] = RouteCounts(matched=8)
    found = rates(Look(_status(before), 1.0), Look(_status(after), 3.0))
    assert found.routes["reserve"]["matched"] == 4


def _view() -> View:
    view = View("events", "")
    view.take(Look(_status(make_state()), 1.0))
    return view


def test_the_keys() -> None:
    """S goes through the columns and back, / takes a filter until Enter, Escape clears it, q ends."""
    view = _view()
    orders = []
    for _ in range(5):
        view.press("s")
        orders.append(view.sort)
    assert orders == ["enqueued", "filtered", "dead", "name", "events"]
    for key in "/pql\x7f\x1f":
        view.press(key)
    assert (view.filter, view.is_typing, view.ended, view.is_paused) == ("pq", True, False, False)
    view.press("\r")
    assert (view.filter, view.is_typing) == ("pq", False)
    view.press("\x1b")
    assert view.filter == ""
    for key in "/x\x1b":
        view.press(key)
    assert (view.filter, view.is_typing) == ("", False)
    for key in "/" + "x" * 1000 + "\n":
        view.press(key)
    assert len(view.filter) == 60
    view.press("q")
    assert view.ended


def test_a_paused_display() -> None:
    """It shows the numbers of the moment when p was pressed, and the newest after the next p."""
    view = _view()
    view.press("p")
    newest = make_state(version="2.0.0", started_at=view.status.started_at if view.status else 0.0)
    view.take(Look(_status(newest), 2.0))
    assert view.status is not None
    assert view.status.version == "1.2.3"
    view.press("p")
    assert view.status.version == "2.0.0"


def test_a_bridge_that_goes_and_comes() -> None:
    """The old numbers stay, and are said to be old; then its new start is said."""
    view = _view()
    assert (view.failure, view.note) == ("", "")
    view.take(Unreachable("nobody listens"))
    assert view.failure == "no answer for 0s, the numbers are old: nobody listens"
    assert [row.name for row in view.sources()] == ["orders", "plant"]
    view.take(Look(_status(make_state(started_at=make_state().started_at + 89_999)), 9.0))
    assert view.failure == ""
    assert view.note.startswith("the bridge has started anew ")
    assert [row.rate for row in view.sources()] == [None, None]


@pytest.mark.no_cover  # it takes long enough without the tracer
def test_five_thousand_routes(run: Terminal, server: AdminServer) -> None:
    """All of them are in the one table, and the display takes only those for which it has room."""
    routes = {f"route-{n}": replace_route(n) for n in range(5_000)}
    queues = {f"queue-{n}": QueueState() for n in range(50)}
    server.bridge.now = make_state(routes=routes, queues=queues)
    text = run("top", "--once", "--interval=100ms", "--admin", server.listen)
    assert text.count("\nroute-") == 5_000
    with Screen(["top", "--admin", server.listen], kind="xterm") as screen:
        screen.read_until("and 4,9")
        screen.read_until("q quit")
        screen.press("q")
        assert screen.wait() == 0


def replace_route(number: int) -> RouteState:
    """Return a route of its own."""
    return RouteState("plant", "actor", f"queue-{number % 50}", f"topic/{number}")


LEAVES = ("\x1b[?1049l", "\x1b[?25h")


def _watch(server: AdminServer) -> Screen:
    return Screen(["top", "--admin", server.listen, "--interval", "100ms", "--color=never"], kind="xterm")


@pytest.mark.parametrize(
    ("number", "code"), [(None, 0), (signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_the_terminal_is_as_before(server: AdminServer, number: int | None, code: int) -> None:
    """After q and after each signal: its settings, its cursor and its other screen."""
    with _watch(server) as screen:
        before = screen.settings()
        screen.read_until("reserve")
        assert screen.settings() != before
        assert not screen.settings()[3] & (termios.ICANON | termios.ECHO)
        if number is None:
            screen.press("q")
        else:
            screen.send_signal(number)
        assert screen.wait() == code
        assert screen.settings() == before
        assert "\x1b[?1049h" in screen.text
        for sequence in LEAVES:
            assert screen.text.rindex(sequence) > screen.text.rindex("reserve")
        assert "Traceback" not in screen.text


def test_the_terminal_after_an_error() -> None:
    """An exception leaves it as it was as well."""
    master, slave = pty.openpty()
    try:
        before = termios.tcgetattr(slave)
        with suppress(ZeroDivisionError), Keyboard(slave) as keyboard:
            os.write(master, "é\x1b[A\x1bOBq".encode())
            assert keyboard.keys() == "éq"
            assert termios.tcgetattr(slave) != before
            raise ZeroDivisionError
        assert termios.tcgetattr(slave) == before
        with Keyboard(slave) as keyboard:
            os.close(master)
            assert keyboard.keys() is None
    finally:
        os.close(slave)


def test_an_unforeseen_error_ends_it(server: AdminServer) -> None:
    """With its traceback, on the terminal as it was: the screen is left before it is printed."""
    broken = "import bridge.commands.top_view as v\ndef fail(self): raise ZeroDivisionError\nv.View.queues = fail\n"
    start = f"{broken}import sys, bridge.cli\nsys.exit(bridge.cli.main(['top', '--admin', {server.listen!r}]))"
    with Screen(["-c", start], program=True, kind="xterm") as screen:
        before = screen.settings()
        assert screen.wait() == 1
        assert screen.settings() == before
        assert screen.text.rindex(LEAVES[0]) < screen.text.rindex("ZeroDivisionError")


def test_keys_and_size_on_a_terminal(server: AdminServer) -> None:
    """Each key shows at once, and the picture follows the terminal's size."""
    with _watch(server) as screen:
        screen.read_until("events a second, by events")
        screen.press("s")
        screen.read_until("by enqueued")
        screen.press("/hot\r")
        screen.read_until("with 'hot'")
        screen.press("p")
        screen.read_until("PAUSED: p goes on")
        assert "spooled" not in screen.text
        screen.resize(20, 120)
        screen.read_until("spooled")
        screen.press("q")
        assert screen.wait() == 0


def test_a_bridge_that_is_restarted(server: AdminServer) -> None:
    """The display stays, says that nobody answers, and goes on with the new bridge."""
    with _watch(server) as screen:
        screen.read_until("reserve")
        server.stop()
        screen.read_until("the numbers are old")
        server.bridge.now = replace_start(server.bridge.now)
        server.start()
        screen.read_until("the bridge has started anew")
        screen.press("q")
        assert screen.wait() == 0


def replace_start(state: BridgeState) -> BridgeState:
    """Return the state of the same bridge after a restart."""
    return make_state(started_at=state.started_at + 89_000, sources=state.sources)
