"""The page of bridges that fare badly, that are large, that go away, and whose texts are hostile."""

from __future__ import annotations

import time
from signal import SIGCONT, SIGSTOP
from typing import TYPE_CHECKING, Any

import pytest

from bridge.model.accounting import RouteCounts
from bridge.model.state import QueueState, RouteState, SourceState
from bridge.model.workshop import ShownLetter, Trial, Tried, TriedRoute
from tests.admin.page.conftest import TOKEN
from tests.support.admin_server import TOKEN as FAKE_TOKEN
from tests.support.admin_server import AdminServer, Bridge, make_state
from tests.support.children import free_port
from tests.support.page import PHONE, enter_token, looking, wait_for_text
from tests.support.processes import BridgeProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.admin.page.conftest import Stage

pytestmark = pytest.mark.no_cover
FEED = "[data-key='source feed']"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>'\"&lt;\u202e\n{{7*7}}"


def test_a_bridge_that_is_stuck_says_why(browser: Browser, stage: Stage) -> None:
    """A full queue, a source that a person has paused, and a Redis that is gone: each in colour and in words."""
    with looking(browser, stage.url, answers=True) as page:  # /dead-letters cannot be read for a while
        enter_token(page, TOKEN)
        page.wait_for_selector("#token-dialog", state="hidden")
        stage.feed.publish([{"n": 2000 + number} for number in range(120)])
        wait_for_text(page, f"{FEED} .why", "waits: queue bounded has")
        assert page.get_attribute(FEED, "data-level") == "warn"
        wait_for_text(page, "[data-key='queue bounded'] .why", "full: source feed waits")
        wait_for_text(page, "#notices", "source feed: paused by backpressure: queue bounded has")
        wait_for_text(page, "#ready", "ready, with a note")
        page.click("[data-key='source news']")
        page.click("#detail .title button")
        wait_for_text(page, "[data-key='source news'] .why", "paused: by a person")
        stage.sink.stop()
        try:
            wait_for_text(page, "#ready", "not ready")
            wait_for_text(page, "#notices .bad", "sink: it takes no writes")
            wait_for_text(page, "#about", "takes no writes")
            wait_for_text(page, "[data-key='queue default']", "not asked")
            page.click("#tab-letters")
            wait_for_text(page, "#letters .note", "cannot be read")
            assert page.title().startswith("\u25cf not ready")
        finally:
            stage.sink.start()
        wait_for_text(page, "#ready", "ready, with a note")
    with looking(browser, stage.url, answers=True, viewport=PHONE) as page:
        wait_for_text(page, f"{FEED} .why", "waits: queue bounded has")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_bridge_that_hangs_is_a_lost_connection(browser: Browser, stage: Stage) -> None:
    """Nothing closes the connection of a process that is stopped: the page says that since when nothing came."""
    with looking(browser, stage.url, answers=True) as page:
        page.wait_for_selector(FEED)
        stage.bridge.signal(SIGSTOP)
        try:
            page.wait_for_function("() => document.body.hasAttribute('data-lost')")
        finally:
            stage.bridge.signal(SIGCONT)
        page.wait_for_function("() => !document.body.hasAttribute('data-lost')")


def test_a_lost_connection_is_said_and_comes_back(browser: Browser) -> None:
    """Since when, how old the numbers are, and grey; once the bridge is back everything is live without a click."""
    server = AdminServer(Bridge())
    server.start()
    try:
        with looking(browser, f"http://{server.listen}/", answers=True) as page:
            page.wait_for_selector("[data-key='route hot']")
            server.stop()
            wait_for_text(page, "#notices", "connection lost since")
            assert page.evaluate("document.body.hasAttribute('data-lost')")
            server.bridge.now = make_state(version="9.9.9")
            server.start()
            wait_for_text(page, "#version", "9.9.9")
            page.wait_for_function("() => !document.querySelector('#notices').textContent.includes('lost')")
    finally:
        server.stop()


def test_a_thousand_routes_are_grouped(browser: Browser, stage: Stage) -> None:
    """A real bridge of 1,000 routes: some dozen nodes, the failing first, the rest as one node with its rate; search finds any."""
    port = free_port()
    url = stage.feed.broker.url_of(0)
    sources = {f"s{number}": {"type": "redis-pubsub", "url": url, "patterns": [f"c{number}.*"]} for number in range(10)}
    routes: list[dict[str, Any]] = [
        {
            "name": f"route-{number}",
            "from": f"s{number % 10}",
            "actor": "act",
            "queue": f"q{number % 7}",
            "topic": f"c{number % 10}.{number}",
        }
        for number in range(1000)
    ]
    routes[777]["args"] = ["$payload.n"]
    config = {**stage.config, "sources": sources, "routes": routes, "dramatiq": {"url": url, "namespace": "large"}}
    config["admin"] = {"listen": f"127.0.0.1:{port}"}
    with BridgeProcess(config) as bridge, stage.feed.broker.client() as client:
        bridge.ready()
        with looking(browser, f"http://127.0.0.1:{port}/") as page:
            page.wait_for_selector(".more")
            assert 40 <= page.locator(".node").count() <= 70
            assert "1,000 routes" in page.inner_text("#shown")
            for _ in range(20):
                client.publish("c7.777", "{}")
                page.wait_for_timeout(1000)
                if page.locator("[data-key='route route-777']").count():
                    break
            wait_for_text(page, "[data-key='route route-777']", "dead")
            more = "[data-key='more s7'] .name"
            before = page.inner_text(more)
            page.click("[data-key='more s7']")
            page.wait_for_function("([s, t]) => document.querySelector(s)?.textContent !== t", arg=[more, before])
            page.fill("#search", "route-123")
            page.wait_for_selector("[data-key='route route-123']")
            assert page.locator(".route").count() == 1
            page.keyboard.press("Enter")
            page.keyboard.press("ArrowRight")
            page.keyboard.press("Enter")
            assert page.inner_text("#detail h2") == "route-123"
            page.fill("#search", "nothing has this name")
            page.wait_for_function("() => !document.querySelector('.node')")
            page.fill("#search", "")
            page.wait_for_selector(".more")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_thousand_busy_routes_stay_smooth(browser: Browser) -> None:
    """Each second of a bridge whose 1,000 routes all move costs the page a fraction of a second (tenfold margin)."""
    bridge = Bridge(_busy(0))
    with AdminServer(bridge) as server, looking(browser, f"http://{server.listen}/") as page:
        page.wait_for_selector(".more")
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")

        def spent() -> float:
            metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
            return float(metrics["ScriptDuration"] + metrics["LayoutDuration"] + metrics["RecalcStyleDuration"])

        before = spent()
        for second in range(1, 6):
            bridge.now = _busy(second)
            time.sleep(1)
        assert spent() - before < 5 * 0.6


def _busy(second: int) -> Any:
    state = make_state(started_at=1_700_000_000.0)
    counts = state.sources["plant"].counts
    for number in range(1000):
        state.routes[f"route-{number}"] = RouteState("plant", "act", f"q{number % 20}", topic=f"a/{number}")
        counts.routes[f"route-{number}"] = RouteCounts(second * (number + 1), 0, 0)
    counts.received = counts.enqueued = second * 500_500
    state.queues |= {f"q{number}": QueueState(waiting=number) for number in range(20)}
    return state


def _hostile() -> Bridge:
    source = SourceState(HOSTILE, guarantee=HOSTILE, connected=False, cause=HOSTILE, disconnected_s=5)
    source.counts.reasons = {HOSTILE: 3}  # type: ignore[dict-item] # no bridge has such a reason
    source.counts.routes = {HOSTILE: RouteCounts(1, 2, 3)}
    other = SourceState("mqtt", connected=True, pressure=True, pressure_cause=HOSTILE)
    bridge = Bridge(
        make_state(
            version=HOSTILE,
            config=f"/etc/{HOSTILE}",
            sources={HOSTILE: source, "__proto__": other},
            routes={
                HOSTILE: RouteState(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE),
                "constructor": RouteState("__proto__", "a", "toString", "x"),
            },
            queues={HOSTILE: QueueState(waiting=3, dead=1)},
            queues_cause=HOSTILE,
            reload_cause=HOSTILE,
        )
    )
    bridge.now.sink.cause, bridge.now.sink.available = HOSTILE, False
    bridge.workshop.kept = [
        ShownLetter(
            id="1-0", reason=HOSTILE, error=HOSTILE, source=HOSTILE, route=HOSTILE, topic=HOSTILE, redacted=[HOSTILE],
            headers='{"<img src=x onerror=alert(3)>": "</pre><script>alert(4)</script>"}', body=HOSTILE, body_size=99, body_shown=99,
        )
    ]  # fmt: skip

    async def try_event(trial: Trial) -> Tried:
        shown = TriedRoute(
            HOSTILE, "message", fits=True, queues=[HOSTILE], messages=['{"a": "<script>alert(5)</script>"}']
        )
        other = TriedRoute(HOSTILE, "when", fits=False, why=HOSTILE)
        return Tried("fits", [shown, other], why=HOSTILE, test=HOSTILE)

    bridge.workshop.try_event = try_event  # type: ignore[method-assign] # the workshop is the test's own
    return bridge


def test_hostile_texts_are_only_texts(browser: Browser) -> None:
    """Scripts in names, topics, reasons, causes, payloads and messages: nothing runs, nothing is loaded, no policy is met."""
    with (
        AdminServer(_hostile()) as server,
        looking(browser, f"http://{server.listen}/", answers=True) as page,
    ):
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        enter_token(page, FAKE_TOKEN)
        page.wait_for_selector("#token-dialog", state="hidden")
        page.click(".letter")
        page.wait_for_selector(".contents pre")
        for kind in ("source", "route", "queue"):
            page.click(f".node.{kind}[data-key*='script']")
            wait_for_text(page, "#detail h2", "<script>alert(1)</script>")
        page.click("#tab-trial")
        page.click("#trial button[type=submit]")
        wait_for_text(page, "#trial .result", "<script>alert(5)</script>")
        page.fill("#search", HOSTILE)
        page.wait_for_timeout(1500)
        assert page.evaluate("document.querySelectorAll('script:not([src]), img[src=x]').length") == 0
        turned = "() => [...document.querySelectorAll('*')].filter((each) => !each.children.length && each.textContent.includes('\u202e')).map((each) => each.outerHTML)"
        assert page.evaluate(turned) == []
        assert {url.rpartition("/")[0].removeprefix(f"http://{server.listen}") for url in asked} <= {"", "/page"}


def test_a_bridge_without_a_token_only_shows(browser: Browser) -> None:
    """There is no button for a token; a pause says why it cannot be."""
    bridge = Bridge()
    with AdminServer(bridge, token=None) as server, looking(browser, f"http://{server.listen}/") as page:
        page.click("[data-key='source plant']")
        assert not page.locator("#token").is_visible()
        page.click("#detail .title button")
        wait_for_text(page, "#detail .error", "This bridge only shows: its configuration has no admin token.")
        assert bridge.orders == []
