"""Each piece of configuration in the documents is one that the bridge takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from bridge import cli
from bridge.config.models import Config
from bridge.dry_run.suite import Suite
from tests.support.children import REPOSITORY
from tests.support.documents import Block, blocks, documents

#: A frame for pieces: sources by the names that the documents use, and a route for each.
_SOURCES: Final[Mapping[str, Mapping[str, Any]]] = {
    "plant": {"type": "mqtt", "url": "mqtt://localhost", "client_id": "bridge"},
    "orders": {"type": "amqp", "url": "amqp://localhost", "queue": "orders"},
    "signups": {"type": "redis-pubsub", "url": "redis://localhost", "channels": ["signups"]},
    "audit": {"type": "redis-stream", "url": "redis://localhost", "streams": ["audit"], "group": "bridge"},
}
_ROUTES: Final = [
    {"from": "plant", "topic": "plants/#", "actor": "raise_alarm", "args": ["$payload.celsius"]},
    {"from": "orders", "actor": "reserve_stock", "args": ["$payload.id"]},
    {"from": "signups", "actor": "send_welcome_email", "args": ["$payload.user_id", "$payload.msg"]},
    {"from": "audit", "actor": "archive", "args": ["$payload"]},
]
#: The files that tables in the documents name.
_TABLES: Final = {"customers.csv": "customer_no;account\nc7;4711\n", "devices.yaml": "d1: {zone: 3}\n"}
#: Of Kubernetes, compose and Prometheus.
_OTHERS: Final = re.compile(r"^(apiVersion|services|rule_files|scrape_configs|groups):", re.MULTILINE)
_KEYS: Final = frozenset(Config.model_json_schema()["properties"])


def _framed(piece: Any) -> Mapping[str, Any]:
    """Return a whole configuration with a piece of one: some of its keys, routes, or keys of a source."""
    frame = {"sources": _SOURCES, "routes": _ROUTES}
    if isinstance(piece, list):
        return {**frame, "routes": piece}
    if set(piece) <= _KEYS:
        return {**frame, **piece, "sources": {**_SOURCES, **piece.get("sources", {})}}
    return {**frame, "sources": {**_SOURCES, "orders": {**_SOURCES["orders"], **piece}}}


def _is_ours(document: Path, block: Block) -> bool:
    """Whether it is configuration of the bridge: beside a chart or a manifest a piece without any of its keys is not."""
    if _OTHERS.search(block.text):
        return False
    return not document.is_relative_to(REPOSITORY / "deploy") or bool(_KEYS & set(yaml.safe_load(block.text)))


def _pieces() -> list[Any]:
    """Return every block of YAML that is configuration, with its place."""
    return [
        pytest.param(block, id=f"{path.relative_to(REPOSITORY)}:{block.line}")
        for path in documents()
        for block in blocks(path.read_text(encoding="utf-8"), "yaml", "yml")
        if _is_ours(path, block)
    ]


def test_the_documents_have_pieces() -> None:
    """Those of the README and the tutorial, of the pages on configuration, expressions, guarantees and operation."""
    with_pieces = {str(each.id).partition(":")[0] for each in _pieces()}
    pages = {f"docs/{name}.md" for name in ("tutorial", "configuration", "expressions", "guarantees", "operation")}
    assert with_pieces >= {"README.md", *pages}


def _mistakes(block: Block, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    for name, text in _TABLES.items():
        (tmp_path / name).write_text(text)
    path = tmp_path / "bridge.yaml"
    framed = _framed(yaml.safe_load(block.text))
    path.write_text(yaml.safe_dump(framed))
    for pattern in framed.get("include", ()):
        included = tmp_path / pattern.replace("*", "x")
        included.parent.mkdir(parents=True, exist_ok=True)
        included.write_text("routes: []\n")
    code = cli.main(["check", "--allow-unset", str(path)])
    return capsys.readouterr().err if code else ""


@pytest.mark.parametrize("block", _pieces())
def test_pieces_are_right(block: Block, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` finds no mistake in them, in a frame of sources and routes."""
    assert _mistakes(block, tmp_path, capsys) == ""


@pytest.mark.parametrize(
    "text", ["spool: {directry: /a}", "- {from: plant, actr: a}", "deduplicate: {keys: $meta.message_id}"]
)
def test_a_wrong_piece_is_found(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In each kind of frame."""
    assert "unknown key" in _mistakes(Block("yaml", text, 1), tmp_path, capsys)


_WITH_TESTS: Final = [piece for piece in _pieces() if "tests" in yaml.safe_load(piece.values[0].text)]


@pytest.mark.parametrize("block", _WITH_TESTS)
def test_their_tests_pass(block: Block, tmp_path: Path) -> None:
    """A piece that says what becomes of an event is right about it."""
    path = tmp_path / "bridge.yaml"
    path.write_text(yaml.safe_dump(_framed(yaml.safe_load(block.text))))
    suite = Suite(str(path))
    results = list(suite.run(range(len(suite.names()))))
    assert results
    assert [line for result in results for line in result.differences] == []
