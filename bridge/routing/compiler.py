"""Compiles each route of the configuration into one Python function.

The function is assembled from the syntax trees of the route's expressions:

    def route(_event, payload, _captures, _ids):
        topic, (headers, meta) = _event.topic, _event.readable_details()     # only the names that the route uses
        plant, oven = _captures
        try:
            if not (<when>): return None
        except (KeyError, IndexError): return None
        return _build(<args>, <kwargs>, _ids, <options>, <delay>)

No expression is looked up, parsed or formatted per event. Each expression has its own line number
in this function, so that a traceback shows which place of the route failed, and at which part.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from bridge.config import MAX_MISTAKES, Config, SourceConfig
from bridge.config import Route as RouteConfig
from bridge.config.dollar import is_expression, literal_text
from bridge.config.manifest import Actor
from bridge.config.message_options import with_queues
from bridge.config.source_model import DeduplicatedSource
from bridge.errors import Diagnostic, InvalidValue, KeyPath
from bridge.manifest.binding import Binding
from bridge.manifest.checks import check_calls
from bridge.model.message import Template
from bridge.routing import expressions, payloads
from bridge.routing.body_reader import source_kind
from bridge.routing.deduplication import FUNCTIONS as DEDUPLICATION_FUNCTIONS
from bridge.routing.deduplication import Deduplication
from bridge.routing.expressions import FUNCTIONS, RUNTIME, Expression
from bridge.routing.functions import compile_function, placed, trace_call
from bridge.routing.routes import Route, RouteTable, message_builder
from bridge.routing.tracing import Marks, Tracing
from bridge.topics.pattern import Pattern, TopicSyntax


def check_routes(config: Config, actors: Mapping[str, Actor] | None = None) -> list[Diagnostic]:
    """Return every mistake in the routes' topics and expressions, in the sources' deduplication keys, and in the calls.

    Calls are checked by the `actors` of another manifest than the file's, if they are given.
    """
    return [*compile_routes(config)[1], *call_mistakes(config, actors)]


def call_mistakes(config: Config, actors: Mapping[str, Actor] | None = None) -> list[Diagnostic]:
    """Return the mistakes in the routes' calls by `actors`, or by the file's manifest; none without either."""
    known = config.actors if actors is None else actors
    return [] if known is None else check_calls(config, known).mistakes


def compile_routes(
    config: Config, *, functions: Mapping[str, object] = RUNTIME, traced: bool = True
) -> tuple[dict[str, RouteTable], list[Diagnostic]]:
    """Compile every route; return each source's route table, and the mistakes in the routes, up to MAX_MISTAKES.

    `functions` are the globals that the expressions can reach: a dry run has a `now()` of its own. Unless they are `traced`,
    the routes write no traces into messages, whatever the configuration says: those are no part of what a route does.
    """
    diagnostics: list[Diagnostic] = []
    routes: dict[str, list[Route]] = {name: [] for name in config.sources}
    parsed: _Parsed = {}
    queues = config.actor_queues
    tracing = _tracing(config) if traced and config.tracing.propagate else {}
    enforced = config.actors if config.enforce_manifest else None
    for index, route in enumerate(config.routes):
        if len(diagnostics) >= MAX_MISTAKES:
            break  # nobody reads more
        if route.source not in config.sources:
            continue  # the configuration's own checks report it
        topics = config.sources[route.source].traits.topics
        compiled = _RouteCompiler(
            route,
            ("routes", index),
            topics,
            diagnostics,
            parsed,
            functions=functions,
            enforced=enforced,
            queues=queues,
            tracing=tracing.get(route.source),
        ).compile()
        if compiled is not None:
            compiled.decode = own_decode(route, config.sources[route.source])
            routes[route.source].append(compiled)
    redacted = {path.partition(".")[0] for path in config.dead_letters.redact}
    keys = {
        name: _compile_deduplication(name, source, diagnostics, redacted) for name, source in config.sources.items()
    }
    for name, of_source in routes.items():
        _read_own_payloads(of_source, keys[name])
    tables = {
        name: RouteTable(compiled, config.sources[name].traits.topics, keys[name], tracing.get(name))
        for name, compiled in routes.items()
    }
    return tables, diagnostics


def _read_own_payloads(routes: list[Route], deduplication: Deduplication | None) -> None:
    """Let each route of a source read its own payload, if any has a `decode` of its own."""
    if not payloads.own_kinds(routes):
        return
    for route in routes:
        route.run = payloads.reading(route.decode, route.run)
    if deduplication is not None:
        deduplication.read_payloads()


def own_decode(route: RouteConfig, source: SourceConfig) -> str:
    """Return the kind of a route's payload; "" if it is the source's."""
    return route.decode if route.decode not in (None, source_kind(source)) else ""


def _tracing(config: Config) -> dict[str, Tracing]:
    return {
        name: Tracing(config.tracing, name, in_payload=source.traits.presents_json(source))
        for name, source in config.sources.items()
    }


def _compile_deduplication(
    name: str, source: SourceConfig, diagnostics: list[Diagnostic], redacted: Collection[str]
) -> Deduplication | None:
    """Compile the key of a source; `redacted` names the parts of an event of which `dead_letters.redact` removes fields."""
    if not isinstance(source, DeduplicatedSource) or source.deduplicate is None:
        return None
    text, filename = source.deduplicate.key[1:], f"<deduplicate.key of {name}>"
    try:
        expression = expressions.parse(text, expressions.NAMES)
        if "received_at" in expression.names:
            hint = "take it from payload, headers or meta"
            raise InvalidValue("an event that comes again has another received_at", hint, text.index("received_at"))
        if expression.names.isdisjoint(("payload", "headers", "meta")):
            hint = "read it from payload, headers or meta"
            raise InvalidValue("a deduplication key that many events share would lose all but the first of them", hint)
    except InvalidValue as error:
        path = ("sources", name, "deduplicate", "key")
        diagnostics.extend(diagnostic.below(path, prefix=1) for diagnostic in error.diagnostics)
        return None
    names: tuple[Collection[str], Sequence[str]] = (expression.names, ())
    evaluate = compile_function(
        names, None, [expression.node], lambda value, _ids: value, filename, functions=DEDUPLICATION_FUNCTIONS
    )
    is_shown = expression.names.isdisjoint(redacted)
    return Deduplication(name, text, evaluate, filename, source.deduplicate.within, is_shown=is_shown)


#: The expressions of all routes by text, names and line: the routes of a fleet have most of them in common.
_Parsed = dict[tuple[str, tuple[str, ...], int], Expression]


class _RouteCompiler:
    """Compiles one route; every mistake is appended to `diagnostics`."""

    def __init__(
        self,
        config: RouteConfig,
        path: KeyPath,
        topics: TopicSyntax,
        diagnostics: list[Diagnostic],
        parsed: _Parsed,
        *,
        functions: Mapping[str, object],
        enforced: Mapping[str, Actor] | None,
        queues: Mapping[str, str],
        tracing: Tracing | None,
    ) -> None:
        self._config = config
        self._path = path
        self._topics = topics
        self._diagnostics = diagnostics
        self._parsed = parsed
        self._functions = functions
        self._enforced = enforced
        self._queues = queues
        self._tracing = tracing
        self._source_map: dict[int, tuple[str, Expression]] = {}
        self._names: tuple[str, ...] = tuple(expressions.NAMES)
        self._used: set[str] = set()
        self._line = 0

    def compile(self) -> Route | None:
        before = len(self._diagnostics)
        config = self._config
        pattern = self._pattern()
        captures = pattern.captures if pattern else ()
        self._names = (*expressions.NAMES, *captures)
        when = self._expression(config.when, ("when",), prefix=0) if config.when is not None else None
        static, dynamic, marks = self._options()
        body = [
            self._value(config.args, ("args",)),
            self._value(config.kwargs, ("kwargs",)),
            self._value(dynamic, ("options",)),
            self._value(config.delay if isinstance(config.delay, str) else None, ("delay",)),
        ]
        if len(self._diagnostics) > before:
            return None
        assert config.name is not None  # noqa: S101 - the model names every route
        filename = f"<route {config.name}>"
        template = Template(config.actor, config.queue, static, delayed=config.delay is not None)
        build: Callable[..., Any]
        if isinstance(config.args, list) and isinstance(config.kwargs, dict) and not dynamic and config.delay is None:
            # Most routes: args is always a list, kwargs always a mapping with text keys, so no event needs a check.
            build, body = template.fill, body[:2]
        else:
            delay = config.delay if isinstance(config.delay, int) else None
            build = message_builder(
                template, delay, dynamic_delay=isinstance(config.delay, str), binding=self._binding()
            )
        functions = self._functions
        if self._tracing is not None and (marks or self._tracing.forms({*static, *dynamic})):
            write = self._tracing.writer({*static, *dynamic}, template.queue)
            functions, body = {**functions, "_trace": write}, [*body, trace_call()]
            build = self._tracing.filled(build, marks) if marks else build
        return Route(
            name=config.name,
            queue=template.queue,
            pattern=pattern,
            run=compile_function((self._used, captures), when, body, build, filename, functions=functions),
            filename=filename,
            source_map=self._source_map,
        )

    def _binding(self) -> Binding | None:
        """Return the actor's parameters, if each call is to be checked; a call that is written out was checked already."""
        config = self._config
        if self._enforced is None or (isinstance(config.args, list) and isinstance(config.kwargs, dict)):
            return None
        actor = self._enforced.get(config.actor)
        return Binding(config.actor, actor) if actor is not None and actor.certain else None

    def _pattern(self) -> Pattern | None:
        if self._config.topic is None:
            return None
        try:
            pattern = self._topics.compile(self._config.topic)
            for name in pattern.captures:
                if name in expressions.NAMES or name in FUNCTIONS:
                    offset = self._config.topic.index(f"{{{name}}}")
                    raise InvalidValue(f"{{{name}}} would hide `{name}`", "give the capture another name", offset)
        except InvalidValue as error:
            self._report((*self._path, "topic"), error, 0)
            return None
        return pattern

    def _options(self) -> tuple[dict[str, object], dict[str, object], Marks]:
        """Split the options into constants and those that contain an expression; with tracing, they have marks for traces."""
        static: dict[str, object] = {}
        dynamic: dict[str, object] = {}
        options, marks = with_queues(self._config.options, self._queues), Marks()
        if self._tracing is not None:
            options, marks = self._tracing.marked(options)
        for name, value in options.items():
            (dynamic if _has_expression(value) else static)[name] = value
        return _literal(static), dynamic, marks

    def _expression(self, text: str, place: KeyPath, *, prefix: int) -> ast.expr:
        self._line += 1
        key = (text, self._names, self._line)
        expression = self._parsed.get(key)
        if expression is None:
            try:
                expression = self._parsed[key] = expressions.parse(text, self._names, line=self._line)
            except InvalidValue as error:
                self._report((*self._path, *place), error, prefix)
                return placed(ast.Constant(None))
        self._source_map[self._line] = (".".join(map(str, place)), expression)
        self._used |= expression.names
        return expression.node

    def _value(self, value: object, place: KeyPath) -> ast.expr:
        if isinstance(value, str):
            if is_expression(value):
                return self._expression(value[1:], place, prefix=1)
            return placed(ast.Constant(literal_text(value)))
        if isinstance(value, dict):
            for key in value:
                if key.startswith("$"):
                    problem = "an expression that holds `: ` is a mapping for YAML"
                    self._diagnostics.append(
                        Diagnostic((*self._path, *place, key), problem, "quote the whole expression")
                    )
            keys: list[ast.expr | None] = [placed(ast.Constant(key)) for key in value]
            return placed(ast.Dict(keys, [self._value(item, (*place, key)) for key, item in value.items()]))
        if isinstance(value, list):
            return placed(ast.List([self._value(item, (*place, i)) for i, item in enumerate(value)], ast.Load()))
        return placed(ast.Constant(value))  # type: ignore[arg-type]  # a YAML scalar

    def _report(self, path: KeyPath, error: InvalidValue, prefix: int) -> None:
        self._diagnostics.extend(diagnostic.below(path, prefix) for diagnostic in error.diagnostics)


def _has_expression(value: object) -> bool:
    if isinstance(value, str):
        return is_expression(value)
    if isinstance(value, dict):
        return any(map(_has_expression, value.values()))
    return isinstance(value, list) and any(map(_has_expression, value))


def _literal(value: Any) -> Any:
    """Return a value without expressions, with `$$` at the beginning of a string replaced by `$`."""
    if isinstance(value, str):
        return literal_text(value)
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    return [_literal(item) for item in value] if isinstance(value, list) else value
