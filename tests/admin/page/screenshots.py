"""Writes the pictures of the page for the documents, from a real bridge: `python -m tests.admin.page.screenshots DIRECTORY`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from playwright.sync_api import sync_playwright

from tests.support.chromium import launch
from tests.support.showcase import Showcase

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_WIDE: Final = {"width": 1440, "height": 900}
_PHONE: Final = {"width": 390, "height": 844}
#: The sparklines have a shape then.
_WARM_UP_S: Final = 45.0


def main(directory: Path, warm_up_s: float = _WARM_UP_S) -> None:
    """Write page-light.png, page-dark.png, page-phone.png and page-stuck.png."""
    directory.mkdir(parents=True, exist_ok=True)
    with Showcase() as showcase, sync_playwright() as playwright, launch(playwright) as browser:
        light = _opened(browser, showcase.url)
        dark = _opened(browser, showcase.url, color_scheme="dark")
        phone = _opened(browser, showcase.url, viewport=_PHONE)
        time.sleep(warm_up_s)
        dark.click(".source[data-key='source orders']")
        time.sleep(2)
        for page, name in ((light, "light"), (dark, "dark"), (phone, "phone")):
            page.screenshot(path=directory / f"page-{name}.png")
        showcase.break_something()
        time.sleep(12)
        light.screenshot(path=directory / "page-stuck.png")


def _opened(browser: Browser, url: str, **options: object) -> Page:
    page = browser.new_page(**{"viewport": _WIDE, **options})  # type: ignore[arg-type] # of one dictionary
    page.goto(url)
    page.wait_for_selector(".node")
    return page


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(float, sys.argv[2:]))
