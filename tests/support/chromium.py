"""Debian's Chromium for the tests of the page, by Playwright."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

#: Debian's name for it, and others'.
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """Return the path of the browser, None where there is none."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


def need_chromium() -> None:
    """Skip the test where there is no browser; in CI that is a failure."""
    if find_chromium() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed", pytrace=False)
        pytest.skip("chromium is not installed")


def launch(playwright: Playwright) -> Browser:
    """Start it."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=find_chromium(), args=[*arguments, "--disable-gpu"])
