"""The page shows the recipes as they are run, and says true things about them."""

from __future__ import annotations

import subprocess

import pytest
import redis

from tests.docs.publish.recipes import FOLDER, LANGUAGES, PROTOCOLS, source
from tests.support.brokers import Redis
from tests.support.children import REPOSITORY
from tests.support.documents import blocks, page


def test_the_page_shows_each_file() -> None:
    """Each recipe stands there whole, in the order of the protocols and languages, and no other code does."""
    shown = [block.text for block in blocks(page("publish"), "python", "go", "javascript", "php", "csharp")]
    assert shown == [source(language, protocol).read_text() for protocol in PROTOCOLS for language in LANGUAGES]


def test_no_other_file_is_there() -> None:
    """Beside the recipes there are the files that name their libraries."""
    names = {"go.mod", "go.sum", "package.json", "package-lock.json", "composer.json"}
    recipes = {source(language, protocol) for protocol in PROTOCOLS for language in LANGUAGES}
    files = {REPOSITORY / name for name in _files_of_git()}
    assert {path.name for path in files - recipes} == names
    assert recipes <= files


def _files_of_git() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", str(FOLDER)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


def test_an_entry_whose_id_is_its_number_is_refused_the_second_time(redis_server: Redis) -> None:
    """As the page tells a program that publishes numbered rows alone."""
    with redis_server.client() as client:
        client.xadd("orders", {"data": "{}"}, id="4711-0")
        with pytest.raises(redis.ResponseError, match="equal or smaller"):
            client.xadd("orders", {"data": "{}"}, id="4711-0")
