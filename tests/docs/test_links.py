"""Each relative link of the documents leads to a file that exists, and to an anchor in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.site import AWAITED
from tests.support.children import REPOSITORY
from tests.support.documents import anchors, documents, links


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_resolve(document: Path) -> None:
    """Files and anchors, of this document and of others; a page that is still to come is named in .ci/site.py."""
    wrong = []
    for line, target in links(document.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            assert target.startswith(("https://", "http://127.0.0.1:", "mailto:")), target
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        if not path.is_relative_to(REPOSITORY) or not path.exists():
            if str(path.relative_to(REPOSITORY)) not in AWAITED:
                wrong.append(f"{line}: {target}: no such file")
        elif anchor and anchor not in anchors(path):
            wrong.append(f"{line}: {target}: no such anchor")
    assert wrong == []


def test_a_page_that_has_come_is_awaited_no_more() -> None:
    """Then links to it are tried, and the site has it: take it out of AWAITED in .ci/site.py."""
    assert [name for name in AWAITED if (REPOSITORY / name).exists()] == []


def test_every_page_is_one_that_readers_find() -> None:
    """The README links to each file of docs/."""
    targets = {target.partition("#")[0] for _, target in links((REPOSITORY / "README.md").read_text(encoding="utf-8"))}
    pages = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "docs").glob("*.md")}
    assert pages - targets == set()
