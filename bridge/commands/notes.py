"""The notes of `check`: settings that are allowed, yet seldom meant. Each has its place in the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

from bridge.commands.body_notes import body_notes
from bridge.commands.expression_notes import expression_notes
from bridge.commands.key_notes import key_notes
from bridge.commands.route_notes import route_notes
from bridge.commands.schema_notes import schema_notes
from bridge.commands.text_notes import text_notes
from bridge.config import Config, Route, SourceConfig
from bridge.config.dollar import is_expression, texts
from bridge.config.manifest import Manifest
from bridge.config.message_options import OPTIONS
from bridge.config.source_model import DeduplicatedSource
from bridge.config.wording import spell_path
from bridge.errors import Diagnostic, KeyPath
from bridge.manifest.checks import check_calls
from bridge.routing.expressions import FUNCTIONS
from bridge.sources.sharding import why_not_shareable
from bridge.topics.index import PatternIndex

#: Text that was probably meant as an expression: its $ is missing.
_MISSING_DOLLAR: Final = re.compile(
    rf"""\{{?(payload|headers|meta)[.\[].*|f(["']).*\2|({"|".join(FUNCTIONS)})\(.*\)""", re.DOTALL
)
#: A lookup, with the name of its table.
_LOOKUP: Final = re.compile(r"""\blookup\s*\(\s*["']([^"']*)""")
#: A wildcard of any protocol, as a whole level.
_WILDCARD: Final = re.compile(r"(?:^|(?<=[/.:]))[+*#](?=[/.:]|$)")
#: A placeholder as other programs write it: {name} or {{ name }}.
_BRACES: Final = re.compile(r"\{\{?\s*([A-Za-z_][\w.]*)\s*(?:\|[^{}]*)?\}?\}")
#: Options whose value is the name of an actor.
_ACTORS: Final = frozenset({"on_success", "on_failure", "on_retry_exhausted"})
#: Of actors, and of the messages of Dramatiq's RabbitMQ broker.
_PRIORITIES: Final = frozenset({"priority", "broker_priority"})


def notes(
    loaded: Config, manifest: Manifest | None = None, path_in_file: Callable[[KeyPath], KeyPath] = lambda path: path
) -> Iterator[Diagnostic]:
    """Yield every note on a configuration without mistakes; calls are compared with `manifest`, or with the file's own.

    `path_in_file` returns the path that a part of the configuration has in its own file, where that is included.
    """
    actors = loaded.actors if manifest is None else manifest.actors
    options = {*OPTIONS, *(loaded.actor_options if manifest is None else manifest.options)}
    routes = routes_by_source(loaded)
    for name, source in loaded.sources.items():
        for key, text in source.traits.notes(source):
            yield Diagnostic(
                ("sources", name, key) if key else ("sources", name), f"sources.{name} {text}", at_key=True
            )
        if name not in routes:
            yield Diagnostic(("sources", name), f"sources.{name} has no route", at_key=True)
    if loaded.processes > 1:
        yield from _not_shareable(loaded)
    written = {"*", *(queue for route in loaded.routes for queue in route.queues)}
    for queue in sorted((loaded.dramatiq.max_queue_depth or {}).keys() - written):
        text = f"dramatiq.max_queue_depth: no route writes to the queue {queue}"
        yield Diagnostic(("dramatiq", "max_queue_depth", queue), text, at_key=True)
    yield from _tables(loaded)
    yield from body_notes(loaded)
    yield from schema_notes(loaded)
    unreached = {name: _unreached(source, routes.get(name, [])) for name, source in loaded.sources.items()}
    for index, route in enumerate(loaded.routes):
        if route.source not in loaded.sources:
            continue  # the name of its source has no value on this machine
        path: KeyPath = ("routes", index)
        if route.topic in unreached[route.source]:
            text = f"route {route.name}: no topic that sources.{route.source} brings fits {route.topic}"
            yield Diagnostic((*path, "topic"), text)
        yield from _wildcards(loaded, route, path)
        yield from _values(loaded, route, path, options)
    yield from route_notes(loaded, actors)
    yield from expression_notes(loaded)
    yield from text_notes(loaded)
    yield from key_notes(loaded)
    for doubt in check_calls(loaded, actors).doubts if actors is not None else ():
        text = f"{spell_path(path_in_file(doubt.path))}: {doubt}, unless a decorator of the actor changes the call"
        yield Diagnostic(doubt.path, text, at_key=doubt.at_key)


def _tables(loaded: Config) -> Iterator[Diagnostic]:
    """Yield a note on each table that nothing looks up."""
    parts: list[object] = [*loaded.routes] if loaded.tables else []
    deduplicated = (source for source in loaded.sources.values() if isinstance(source, DeduplicatedSource))
    parts += [source.deduplicate for source in deduplicated]
    named = {name for part in parts for _, text in texts((), part) for name in _LOOKUP.findall(text)}
    for name in loaded.tables:
        if name not in named:
            yield Diagnostic(("tables", name), f"tables.{name}: no expression looks it up", at_key=True)


def _wildcards(loaded: Config, route: Route, path: KeyPath) -> Iterator[Diagnostic]:
    """Yield the wildcards of another protocol, which are characters in this one."""
    syntax = loaded.sources[route.source].traits.topics
    foreign = {sign for sign in _WILDCARD.findall(route.topic or "") if sign not in syntax.wildcards}
    for sign in sorted(foreign):
        kind, own = loaded.sources[route.source].type, " and ".join(syntax.wildcards)
        text = f"route {route.name}: {sign} is a character in a topic of {kind}; its wildcards are {own}"
        yield Diagnostic((*path, "topic"), text)


def _values(loaded: Config, route: Route, path: KeyPath, options: Collection[str]) -> Iterator[Diagnostic]:
    syntax = loaded.sources[route.source].traits.topics
    captures = syntax.compile(route.topic).captures if route.topic is not None else ()
    call = {"args": route.args, "kwargs": route.kwargs, "options": route.options}
    yield from _call(route, path, call, captures, options)
    for number, step in enumerate(route.then):
        call = {"args": step.args, "kwargs": step.kwargs, "options": step.options}
        yield from _call(route, (*path, "then", number), call, captures, options)


def _call(
    route: Route, path: KeyPath, call: Mapping[str, Any], captures: Collection[str], options: Collection[str]
) -> Iterator[Diagnostic]:
    """Yield the notes on a message: the route's own, or one in its options; `options` are those that Dramatiq knows."""
    for name in ("args", "kwargs"):
        for below, text in texts((*path, name), call.get(name)):
            yield from _text(route, below, text, captures)
    for name, value in call.get("options", {}).items():
        place = (*path, "options", name)
        if name in _PRIORITIES:
            text = f"route {route.name}: Dramatiq's Redis broker ignores the priority of a message; use another queue"
            yield Diagnostic(place, text, at_key=True)
        elif name not in options:
            text = f"route {route.name}: Dramatiq does not know the option {name}; it is written all the same, for a middleware"
            yield Diagnostic(place, text, at_key=True)
        if name == "pipe_target" and isinstance(value, dict):
            yield from _call(route, place, value, captures, options)
        elif name not in _ACTORS:
            for below, text in texts(place, value):
                yield from _text(route, below, text, captures)


def _text(route: Route, path: KeyPath, text: str, captures: Collection[str]) -> Iterator[Diagnostic]:
    if is_expression(text):
        return
    if _MISSING_DOLLAR.fullmatch(text):
        meant = f"as in ${text.strip('{}')}"
        yield Diagnostic(path, f"route {route.name}: {text!r} is text; an expression begins with $, {meant}")
    elif text in captures:
        yield Diagnostic(path, f"route {route.name}: {text!r} is text; the capture is written ${text}")
    elif match := _BRACES.search(text):
        meant = f'$f"{_BRACES.sub(lambda one: "{" + one[1] + "}", text)}"'
        yield Diagnostic(path, f"route {route.name}: {match[0]!r} is text; {meant} puts values into one")


def _not_shareable(loaded: Config) -> Iterator[Diagnostic]:
    answers = {name: why_not_shareable(source) for name, source in loaded.sources.items()}
    reasons = {name: reason for name, reason in answers.items() if reason is not None}
    for name, reason in reasons.items():
        text = f"sources.{name} runs in one of the {loaded.processes} processes only: {reason}"
        yield Diagnostic(("sources", name), text, at_key=True)
    if len(reasons) == len(loaded.sources):
        yield Diagnostic(
            ("processes",), f"processes: {loaded.processes} has no effect: no source shares its events out"
        )


def routes_by_source(loaded: Config) -> dict[str, list[Route]]:
    """Return the routes of each source that has any."""
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
