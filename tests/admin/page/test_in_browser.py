"""The page of a real bridge in a real browser: it shows the flow, takes orders, and works by keyboard and on a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.admin.page.conftest import TOKEN
from tests.support.page import CONTRAST, NAMELESS, PHONE, enter_token, looking, wait_for_text
from tests.support.processes import queue_messages

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.admin.page.conftest import Stage

pytestmark = pytest.mark.no_cover
FEED = "[data-key='source feed']"
SMALL = "[data-key='route small']"


def publish_steadily(page: Page, stage: Stage, selector: str, pattern: str) -> str:
    """Publish until the text of an element fits a pattern; return the text."""
    for _ in range(60):
        stage.feed.publish([{"n": number} for number in range(20)])
        page.wait_for_timeout(400)
        if page.evaluate("([s, p]) => new RegExp(p).test(document.querySelector(s).textContent)", [selector, pattern]):
            return page.inner_text(selector)
    raise AssertionError(f"{selector} has {page.inner_text(selector)!r}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_flow_lives(browser: Browser, stage: Stage, scheme: Any) -> None:
    """Sources, routes and queues stand side by side, with rates on their arrows; in both schemes each text has contrast."""
    with looking(browser, stage.url, color_scheme=scheme) as page:
        assert page.inner_text("#ready") in {"ready", "ready, with a note"}
        assert page.inner_text("#about").startswith("config")
        columns = [
            page.locator(f"[data-key='{key}']").bounding_box()
            for key in ("source feed", "route small", "queue default")
        ]
        lefts = [box["x"] for box in columns if box is not None]
        assert lefts == sorted(lefts)
        assert len(set(lefts)) == 3
        publish_steadily(page, stage, FEED + " .rate", "^[1-9]")
        page.wait_for_function(
            "() => [...document.querySelectorAll('#canvas text')].filter((each) => each.textContent).length >= 2"
        )
        assert page.locator("g[data-pace] .pulse").count() >= 2
        page.wait_for_function(
            "() => /[0-9]/.test(document.querySelector(\"[data-key='queue default'] .depth\").textContent)"
        )
        page.click(FEED)
        assert page.inner_text("#detail h2") == "feed"
        wait_for_text(page, "#detail .counts", "received")
        assert page.evaluate(CONTRAST) == []
        for tab in ("letters", "trial"):
            page.click(f"#tab-{tab}")
            assert page.evaluate(CONTRAST) == []
            assert page.evaluate(NAMELESS) == []


def test_it_is_one_screen_and_does_not_jump(browser: Browser, stage: Stage) -> None:
    """At 1440 by 900 nothing scrolls but the lists inside, and no node moves while its numbers change."""
    with looking(browser, stage.url) as page:
        page.wait_for_selector("[data-key='queue default']")
        assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
        publish_steadily(page, stage, FEED + " .rate", "^[1-9]")
        boxes = "[...document.querySelectorAll('.node, .vital')].map((each) => JSON.stringify(each.getBoundingClientRect()))"
        before = page.evaluate(boxes)
        publish_steadily(page, stage, FEED + " .rate", "^[1-9]")
        assert page.evaluate(boxes) == before


def test_it_fits_a_phone(browser: Browser, stage: Stage) -> None:
    """360 pixels are enough for everything, without sideways scrolling; sources and their routes stand below each other."""
    with looking(browser, stage.url, viewport=PHONE, has_touch=True) as page:
        page.wait_for_selector(SMALL)

        def check() -> None:
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            outside = "[...document.querySelectorAll('body *')].filter((each) => each.checkVisibility() && !each.closest('.skip, .hidden') && each.getBoundingClientRect().right > 361).length"
            assert page.evaluate(outside) == 0

        check()
        source, route = page.locator(FEED).bounding_box(), page.locator(SMALL).bounding_box()
        assert source is not None
        assert route is not None
        assert route["y"] >= source["y"] + source["height"]
        page.tap(FEED)
        page.wait_for_selector("#detail .counts")
        check()
        page.tap("#tab-trial")
        page.click("#trial summary")
        page.click("#trial button[type=submit]")
        page.wait_for_selector("#trial .verdict")
        check()
        page.tap("#help")
        check()


def test_motion_stops_for_those_who_want_none(browser: Browser, stage: Stage) -> None:
    """With prefers-reduced-motion no arrow moves, and nothing glides."""
    with looking(browser, stage.url, reduced_motion="reduce") as page:
        publish_steadily(page, stage, FEED + " .rate", "^[1-9]")
        assert page.evaluate("document.getAnimations().length") == 0


def test_everything_works_by_keyboard(browser: Browser, stage: Stage) -> None:
    """Search, walk, look, enter the token, pause and resume: without a mouse, with a visible focus, and `?` says how."""
    with looking(browser, stage.url, answers=True) as page:
        page.wait_for_selector(SMALL)
        keys = page.keyboard
        keys.press("?")
        assert page.locator("#help-dialog").is_visible()
        keys.press("Escape")
        assert not page.locator("#help-dialog").is_visible()
        keys.press("/")
        keys.type("larg")
        page.wait_for_selector(SMALL, state="detached")
        keys.press("Escape")
        page.wait_for_selector(SMALL)
        keys.press("f")
        focused = "document.activeElement.dataset.key"
        assert page.evaluate(focused) == "source feed"
        keys.press("ArrowRight")
        assert page.evaluate(focused) in {"route small", "route large"}
        keys.press("Home")
        assert page.evaluate(focused) == "source feed"
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        keys.press("Enter")
        assert page.inner_text("#detail h2") == "feed"
        keys.press("p")
        keys.type("a-wrong-token-of-somebody")
        keys.press("Enter")
        wait_for_text(page, "#token-error", "wrong token")
        keys.type(TOKEN)
        keys.press("Enter")
        page.wait_for_selector("#token-dialog", state="hidden")
        keys.press("p")
        wait_for_text(page, "#detail .title button", "Resume")
        keys.press("p")
        wait_for_text(page, "#detail .title button", "Pause")
        keys.press("t")
        assert page.evaluate("document.activeElement.id") == "trial-source"
        page.locator("#tab-trial").focus()
        keys.press("ArrowRight")
        assert page.evaluate("document.activeElement.id") == "tab-detail"


def test_a_pause_needs_the_right_token(browser: Browser, stage: Stage) -> None:
    """A wrong one is said and changes nothing; with the right one a source and a route pause, in words, and go on."""
    with looking(browser, stage.url, answers=True) as page:
        page.click(SMALL)
        page.click("#detail .title button")
        page.fill("#token-field", "a-wrong-token-of-somebody")
        page.click("#token-dialog button[type=submit]")
        wait_for_text(page, "#token-error", "wrong token")
        page.keyboard.press("Escape")
        assert page.inner_text("#token") == "Enter token"
        assert not stage.bridge.events("route.paused")
        enter_token(page, TOKEN)
        wait_for_text(page, "#token", "Token entered")
        page.click("#detail .title button")
        wait_for_text(page, "#notices", "route small: paused by a person; source feed waits behind it")
        wait_for_text(page, "#detail .reason", "paused: by a person")
        wait_for_text(page, SMALL, "paused")
        page.click("#detail .title button")
        page.wait_for_function("() => !document.querySelector('#notices').textContent.includes('paused')")
        assert TOKEN not in page.evaluate(
            "JSON.stringify([location.href, {...localStorage}, {...sessionStorage}, document.cookie])"
        )


def test_a_dead_letter_is_looked_at_and_retried(browser: Browser, stage: Stage) -> None:
    """Reason and place are for everybody, contents for the token; a retry fails with the new reason, or makes the message."""
    stage.feed.publish([{"other": "a-secret-value"}])
    with looking(browser, stage.url, answers=True) as page:
        page.wait_for_selector(".letter")
        head = page.inner_text(".letter >> nth=0")
        assert "missing-field" in head
        assert page.inner_text(".letter .place >> nth=0") == "feed \u203a small"
        assert "args.0" in head
        page.click(".letter >> nth=0")
        assert "hidden" in page.inner_text(".whole")
        assert "a-secret-value" not in page.content()
        before = page.inner_text(".letter .text >> nth=0")
        enter_token(page, TOKEN)
        page.wait_for_selector("#token-dialog", state="hidden")
        wait_for_text(page, ".contents", '"other": "a-secret-value"')
        # The error of the open letter, which may quote contents, came with the token too.
        page.wait_for_function("before => document.querySelector('.letter .text').innerText !== before", arg=before)
        letter_id = page.get_attribute(".letter >> nth=0", "data-key")
        assert letter_id is not None
        assert letter_id in page.inner_text(".whole .facts")
        page.click(".whole button:text-is('Try it without writing')")
        assert "a-secret-value" in page.input_value("#trial-body")
        page.click("#tab-letters")
        page.click(".whole button:text-is('Retry')")
        wait_for_text(page, ".whole .error", "It failed again: missing-field")
        mended = [{**route, "args": ["$default(payload.n, 77)"]} for route in stage.config["routes"][:1]]
        stage.bridge.configure({**stage.config, "routes": [*mended, *stage.config["routes"][1:]]})
        try:
            page.request.post(f"{stage.url}reload", headers={"Authorization": f"Bearer {TOKEN}"})
            page.wait_for_function("() => document.querySelectorAll('.letter').length >= 1")
            page.reload()
            enter_token(page, TOKEN)
            page.wait_for_selector("#token-dialog", state="hidden")
            page.click(".letter >> nth=0")
            page.click(".whole button:text-is('Retry')")
            wait_for_text(page, "#said", "retried")
            with stage.sink.client() as client:
                client.delete(f"{stage.config['dramatiq'].get('namespace', 'dramatiq')}-bridge:dead-letters")
            # Nothing is left: only the number since the start remains, and no badge.
            page.reload()
            wait_for_text(page, "#vitals", "now · ")
            assert page.inner_text("#dead-count") == ""
            wait_for_text(page, "#letters", "No dead letters.")
            assert page.locator("[data-dead=true]").count() == 0
            with stage.sink.client() as client:
                assert 77 in [message["args"][0] for message in queue_messages(client, "default")]
        finally:
            stage.bridge.configure(stage.config)
            page.request.post(f"{stage.url}reload", headers={"Authorization": f"Bearer {TOKEN}"})


def test_an_event_is_tried_and_copied_as_a_test(browser: Browser, stage: Stage) -> None:
    """The routes that fit with their messages, the others with the reason, and a test that stands in the clipboard."""
    with looking(browser, stage.url, permissions=["clipboard-read", "clipboard-write"], answers=True) as page:
        page.keyboard.press("t")
        page.select_option("#trial-source", "feed")
        page.fill("#trial-topic", stage.feed.name)
        page.fill("#trial-body", '{"n": 12345678901234567890, "f": 1.0}')
        page.keyboard.press("Control+Enter")
        wait_for_text(page, "#trial .verdict", "2 routes fit")
        # JavaScript alone would round it.
        assert '"args": [12345678901234567890]' in page.inner_text("#trial .result pre >> nth=0")
        page.fill("#trial-body", '{"n": 7}')
        page.click("#trial button[type=submit]")
        wait_for_text(page, "#trial .verdict", "1 route fits")
        assert '"args": [7]' in page.inner_text("#trial .result pre")
        page.click("#trial .result summary")
        assert "payload.n > 1000" in page.inner_text("#trial .result details")
        page.click("[data-key='copy']")
        wait_for_text(page, "[data-key='copy']", "Copied")
        (case,) = yaml.safe_load(page.evaluate("navigator.clipboard.readText()"))
        assert case["event"]["payload"] == {"n": 7}
        assert case["expect"] == [{"route": "small", "actor": "record", "queue": "default", "args": [7]}]
        page.fill("#trial-body", "{no json")
        page.click("#trial button[type=submit]")
        wait_for_text(page, "#trial-error", "the payload is no JSON")
        page.select_option("#trial-kind", "body")
        page.click("#trial button[type=submit]")
        wait_for_text(page, "#trial .verdict", "it would become a dead letter")
        page.click("#trial form summary")
        page.fill("#trial-headers", '{"a": 1}')
        page.click("#trial button[type=submit]")
        wait_for_text(page, "#trial-error", "headers")


def test_the_token_goes_with_the_page(browser: Browser, stage: Stage) -> None:
    """It is sent in one header to this server alone, and a new page does not know it."""
    with looking(browser, stage.url) as page:
        sent: list[tuple[str, str | None]] = []
        page.on("request", lambda request: sent.append((request.url, request.headers.get("authorization"))))
        enter_token(page, TOKEN)
        page.wait_for_selector("#token-dialog", state="hidden")
        assert (f"{stage.url}dead-letters?limit=1", f"Bearer {TOKEN}") in sent
        assert all(url.startswith(stage.url) and TOKEN not in url for url, _ in sent)
        page.reload()
        wait_for_text(page, "#token", "Enter token")


def test_no_request_leaves_the_bridge(browser: Browser, stage: Stage) -> None:
    """The page works offline: everything that it asks for comes from the bridge itself, in few requests."""
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(stage.url)
    page.wait_for_selector(SMALL)
    context.close()
    assert all(url.startswith(stage.url) for url in asked)
    assert len(asked) <= 24


def test_a_search_that_shows_all_it_found_says_no_more(browser: Browser, stage: Stage) -> None:
    """One route of one source is found and shown: the line speaks of no busiest ones, though other sources are hidden."""
    with looking(browser, stage.url) as page:
        page.fill("input[type=search]", "small")
        wait_for_text(page, "#shown", "1 found")
        assert "busiest" not in page.inner_text("#shown")
