"""The site of the documents: it is whole, needs nobody else, and can be searched without a server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urldefrag, urlparse

import pytest
import yaml

from tests.docs.site import AWAITED, PAGES
from tests.support.children import REPOSITORY
from tests.support.chromium import launch, need_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: Elements that load something, and the attribute that says from where.
_LOADS: Final = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "use": "href"}
#: Elements of `link` that load nothing.
_NAMED_ONLY: Final = {"prev", "next", "canonical"}
_ELSEWHERE: Final = re.compile(r"^(?:[a-z]+:)?//")


@dataclass
class _Html(HTMLParser):
    """The ids of a page, the links in it, and the addresses that it loads something from."""

    text: str
    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what the tests ask for."""
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values["id"]} if "id" in values else set()
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in _LOADS and _LOADS[tag] in values and values.get("rel") not in _NAMED_ONLY:
            self.loads.append(values[_LOADS[tag]])
        self.loads += re.findall(r"url\(['\"]?([^)'\"]+)", values.get("style", ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` builds it; a warning fails the build."""
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(directory)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("INFO ")]
    assert (done.returncode, said) == (0, [])
    return directory


@pytest.fixture(scope="module")
def pages(site: Path) -> Mapping[Path, _Html]:
    """Each page of the site, parsed."""
    return {path: _Html(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    need_chromium()
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - it needs a moment

    with sync_playwright() as playwright, launch(playwright) as browser:
        yield browser


def test_every_document_is_a_page(site: Path, pages: Mapping[Path, _Html]) -> None:
    """Those of docs/, and those from elsewhere; the navigation leads to each."""
    (names,) = [{str(path.relative_to(site)) for path in pages} - {"404.html"}]
    own = {f"{path.stem}.html" for path in (REPOSITORY / "docs").glob("*.md")}
    others = {uri.replace(".md", ".html") for path, uri in PAGES.items() if path not in AWAITED}
    assert names == own | others | {"examples.html"}
    assert names <= {*pages[site / "index.html"].links, "index.html"}


def test_every_link_leads_somewhere(pages: Mapping[Path, _Html]) -> None:
    """Each link within the site has its file and its anchor."""
    wrong = []
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            name, anchor = urldefrag(unquote(link))
            target = (path.parent / name).resolve() if name else path
            if path.name == "404.html" and name.startswith("/"):
                continue
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].ids):
                wrong.append(f"{path.name}: {link}")
    assert wrong == []


def test_a_file_that_is_no_page_is_named(site: Path) -> None:
    """By its path: it has no public address. One that is a page, or a picture, has its link."""
    page = (site / "how-it-works.html").read_text(encoding="utf-8")
    assert "<code>bridge/sink/enqueue.lua</code>" in page
    assert 'href="architecture.html#the-bounds-of-all-buffers"' in page
    assert 'href="tests/faults/soak.png"' in (site / "guarantees.html").read_text(encoding="utf-8")


def test_braces_are_words(site: Path) -> None:
    """The documents are full of them, and no extension takes them for attributes at the end of a cell."""
    assert "or {key, arguments}</td>" in (site / "reference.html").read_text(encoding="utf-8")


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: Mapping[Path, _Html]) -> None:
    """No script, style sheet, font or picture: neither from another host nor by one that a style sheet names."""
    loaded = {load for page in pages.values() for load in page.loads}
    for path in site.rglob("*.css"):
        loaded |= set(re.findall(r"(?:url\(|@import\s+)['\"]?([^)'\"\s]+)", path.read_text(encoding="utf-8")))
    assert any(load.endswith("iframe-worker.js") for load in loaded)
    assert {load for load in loaded if _ELSEWHERE.match(load)} == set()


def test_each_page_can_be_searched(site: Path) -> None:
    """The index has each page with words of it, also as the script that a page from file:// takes."""
    index = (site / "search/search_index.json").read_text(encoding="utf-8")
    assert (site / "search/search_index.js").read_text(encoding="utf-8") == f"var __index = {index}"
    words: dict[str, int] = {}
    for entry in json.loads(index)["docs"]:
        name = entry["location"].partition("#")[0]
        words[name] = words.get(name, 0) + len(entry["text"].split())
    names = {path.name for path in site.glob("*.html")} - {"404.html"}
    assert {name for name in names if words.get(name, 0) < 50} == set()


def test_a_page_has_the_name_that_the_navigation_gives_it(site: Path) -> None:
    """So that who follows a link knows where it led; and no two pages have one name."""
    nav = re.findall(r"^ +- (.+): (\S+)\.md$", (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    headings = {}
    for _, name in nav:
        (found,) = re.findall(r"<h1[^>]*>(.*?)<a ", (site / f"{name}.html").read_text(encoding="utf-8"))
        headings[name] = found
    assert headings == {name: title for title, name in nav}
    assert len(set(headings.values())) == len(nav)


@pytest.mark.parametrize("word", ["SIGTERM", "spool"])
def test_the_search_shows_guides_before_records(site: Path, browser: Browser, word: str) -> None:
    """A changelog and a table of results name everything, and explain nothing."""
    page = browser.new_page()
    page.goto((site / "index.html").as_uri())
    box = page.locator("input.md-search__input")
    box.click()
    page.locator(".md-search-result__meta", has_text="Type to start searching").wait_for()
    box.press_sequentially(word)
    page.locator(".md-search-result__link").first.wait_for()
    links = page.locator(".md-search-result__item > .md-search-result__link:first-child").all()
    names = [Path(urlparse(link.get_attribute("href") or "").path).stem for link in links]
    page.close()
    records = {"changelog", "bench-results", "bench-scaling", "fault-matrix", "interoperability"}
    kinds = [name in records for name in names if name in records | {"guarantees", "operation"}]
    assert kinds[0] is False, names


def test_the_search_works_from_a_folder(site: Path, browser: Browser) -> None:
    """Without a server: the page opens from file://, asks nobody, logs no error, and finds a word of another page."""
    page = browser.new_page()
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((site / "index.html").as_uri())
    box = page.locator("input.md-search__input")
    box.click()
    page.locator(".md-search-result__meta", has_text="Type to start searching").wait_for()
    box.press_sequentially("consumer group lost")
    page.locator(".md-search-result__link", has_text="consumer group that is lost").first.click()
    page.wait_for_url("**/guarantees.html*")
    assert page.locator("h1").inner_text().startswith("Guarantees")
    assert errors == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "about:", "blob:"))] == []
    page.close()


def test_no_page_is_wider_than_a_phone(site: Path, browser: Browser) -> None:
    """A table or a block of code that is wider moves by itself."""
    page = browser.new_page(viewport={"width": 390, "height": 800}, java_script_enabled=False)
    wide = {}
    for path in sorted(site.glob("*.html")):
        page.goto(path.as_uri())
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > 390:
            wide[path.name] = width
    page.close()
    assert wide == {}


def test_the_navigation_has_the_pages_that_are_to_come() -> None:
    """They need a file and nothing else; until then their links are paths."""
    text = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    nav = yaml.safe_dump(yaml.load(text, yaml.BaseLoader)["nav"])  # noqa: S506 - it makes texts alone
    for path in AWAITED:
        assert f": {PAGES.get(path, path.removeprefix('docs/'))}\n" in nav
