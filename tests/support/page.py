"""The page of a bridge in a browser: whatever it should never do fails the test."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from tests.support.children import patient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page

WIDE: Final = {"width": 1440, "height": 900}
PHONE: Final = {"width": 360, "height": 740}
#: An answer that is no success is said by the browser too.
_OF_ANSWERS: Final = "Failed to load resource"

#: Returns the texts whose contrast with the ground is below 4.5, as "text: ratio".
CONTRAST: Final = """() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const over = ([r, g, b, a = 1], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
  const light = (color) => color.map((each) => each / 255)
    .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4))
    .reduce((sum, each, at) => sum + each * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (element) => {
    const own = numbers(getComputedStyle(element).backgroundColor);
    if ((own[3] ?? 1) === 1) return own.slice(0, 3);
    return over(own, element.parentElement ? ground(element.parentElement) : [255, 255, 255]);
  };
  const found = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility({ opacityProperty: true }) || element.closest(":disabled")) continue;
    const style = getComputedStyle(element);
    const under = ground(element.closest("svg")?.parentElement ?? element);
    const color = over(numbers(element.closest("svg") ? style.fill : style.color), under);
    const [a, b] = [light(color), light(under)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.add(`${walker.currentNode.data.trim()}: ${ratio.toFixed(2)}`);
  }
  return [...found];
}"""

#: Returns the controls without a name that a screen reader could say.
NAMELESS: Final = """() => [...document.querySelectorAll("button, input, select, textarea, [role=tab], [role=img]")]
  .filter((each) => each.checkVisibility())
  .filter((each) => !(each.getAttribute("aria-label") || each.textContent.trim() || each.labels?.length))
  .map((each) => each.outerHTML.slice(0, 100))"""


class Looked:
    """A page that is open, and everything it has said wrongly."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.faults: list[str] = []
        self.answers: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("dialog", self._dismiss)

    def _dismiss(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            (self.answers if message.text.startswith(_OF_ANSWERS) else self.faults).append(message.text)


@contextmanager
def looking(browser: Browser, url: str, *, answers: bool = False, **options: Any) -> Iterator[Page]:
    """Open the page, and fail if it meets an error, a dialog, or its own policy; or, unless `answers`, a refusal."""
    context = browser.new_context(**{"viewport": WIDE, **options})
    try:
        page = context.new_page()
        page.set_default_timeout(patient(10) * 1000)
        looked = Looked(page)
        page.goto(url)
        page.wait_for_selector("#ready[data-level]")
        yield page
        assert looked.faults == [], looked.faults
        assert answers or looked.answers == [], looked.answers
    finally:
        context.close()


def enter_token(page: Page, token: str) -> None:
    """Enter a token in the dialog."""
    page.click("#token")
    page.fill("#token-field", token)
    page.click("#token-dialog button[type=submit]")


def wait_for_text(page: Page, selector: str, text: str) -> None:
    """Wait until an element has this text somewhere."""
    page.wait_for_function(
        "([selector, text]) => document.querySelector(selector)?.textContent.includes(text)", arg=[selector, text]
    )
