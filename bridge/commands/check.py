"""`check CONFIG`: prints every mistake of the file, or a summary of it; connects to nothing."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Final

from bridge import config
from bridge.config import Config, Route, SourceConfig, tls
from bridge.config.units import spell_size
from bridge.routing.compiler import check_routes
from bridge.sources.promise import promise
from bridge.sources.sharding import why_not_shareable
from bridge.topics.index import PatternIndex

#: Text that was probably meant as an expression: its $ is missing.
_MISSING_DOLLAR: Final = re.compile(r"\{?(payload|headers|meta)[.\[].*")


def main(arguments: argparse.Namespace) -> int:
    """Print the sources with their routes, the guarantees and the notes.

    Raises:
        ConfigError: the file has mistakes; it holds all of them.
    """
    loaded = config.load(arguments.config, check=lambda loaded: [*check_routes(loaded), *tls.mistakes(loaded)])
    routes = _by_source(loaded)
    print(f"{arguments.config}: ok")
    print(f"  dramatiq  {loaded.dramatiq.redacted_url}, namespace {loaded.dramatiq.namespace}")
    for name, source in loaded.sources.items():
        print(f"  {name}  {source.type} {source.redacted_url}")
        for route in routes.get(name, ()):
            topic = f"{route.topic} " if route.topic else ""
            print(f"    {route.name}: {topic}-> {route.actor} (queue {route.queue})")
        promised = promise(loaded, source)
        print(f"    guarantee: {_plain(promised.guarantee)}")
        print(f"      duplicates: {_plain(promised.duplicates)}")
        print(f"      if: {_plain(promised.condition)}")
        print(f"      order: {_plain(promised.order)}")
    if loaded.spool is not None:
        print(f"  spool  {loaded.spool.directory}, at most {spell_size(loaded.spool.max_size)}")
    for note in notes(loaded):
        print(f"  note: {note}")
    return 0


def _plain(markdown: str) -> str:
    return markdown.replace("`", "")


def notes(loaded: Config) -> Iterator[str]:
    """Yield a note for each setting that is allowed but rarely intended."""
    routes = _by_source(loaded)
    unreached = {name: _unreached(loaded.sources[name], own) for name, own in routes.items()}
    for name, source in loaded.sources.items():
        for note in source.traits.notes(source):
            yield f"sources.{name} {note}"
        if name not in routes:
            yield f"sources.{name} has no route"
    if loaded.processes > 1:
        yield from _not_shareable(loaded)
    written = {"*", *(route.queue for route in loaded.routes)}
    for queue in sorted((loaded.dramatiq.max_queue_depth or {}).keys() - written):
        yield f"dramatiq.max_queue_depth: no route writes to the queue {queue}"
    for route in loaded.routes:
        if route.topic in unreached[route.source]:
            yield f"route {route.name}: no topic that sources.{route.source} brings fits {route.topic}"
        for text in _texts([route.args, route.kwargs]):
            if _MISSING_DOLLAR.fullmatch(text):
                yield f"route {route.name}: {text!r} is text; an expression begins with $, as in ${text.strip('{}')}"


def _not_shareable(loaded: Config) -> Iterator[str]:
    answers = {name: why_not_shareable(source) for name, source in loaded.sources.items()}
    reasons = {name: reason for name, reason in answers.items() if reason is not None}
    for name, reason in reasons.items():
        yield f"sources.{name} runs in one of the {loaded.processes} processes only: {reason}"
    if len(reasons) == len(loaded.sources):
        yield f"processes: {loaded.processes} has no effect: no source shares its events out"


def _by_source(loaded: Config) -> dict[str, list[Route]]:
    routes: dict[str, list[Route]] = {}
    for route in loaded.routes:
        routes.setdefault(route.source, []).append(route)
    return routes


def _unreached(source: SourceConfig, routes: list[Route]) -> set[str]:
    """Return the topics of the routes that no topic of the source's fits, as far as those are known."""
    topics = source.traits.known_topics(source)
    if topics is None:
        return set()
    syntax = source.traits.topics
    unreached = {route.topic: syntax.compile(route.topic) for route in routes if route.topic is not None}
    index: PatternIndex[str] = PatternIndex()
    for text in unreached:
        index.add(syntax.tokens(text), text)
    for topic in topics:
        for text in index.find(syntax.levels(topic)):
            if text in unreached and unreached[text].match(topic) is not None:
                del unreached[text]
    return set(unreached)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
