"""Compiles the routes and the deduplication keys of a configuration: each becomes one Python function."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from bridge.config import MAX_MISTAKES, Config
from bridge.config.manifest import Actor
from bridge.config.source_model import DeduplicatedSource
from bridge.errors import Diagnostic, InvalidValue
from bridge.manifest.checks import check_calls
from bridge.routing import expressions, payloads
from bridge.routing.body_reader import source_kind
from bridge.routing.certain_kinds import DEDUPLICATION_KEY, check_kind
from bridge.routing.deduplication import FUNCTIONS as DEDUPLICATION_FUNCTIONS
from bridge.routing.deduplication import Deduplication, check_names
from bridge.routing.expressions import RUNTIME, KnownTables
from bridge.routing.gates import GateContext
from bridge.routing.route_compiler import RouteCompiler, RouteContext
from bridge.routing.route_function import compile_value
from bridge.routing.routes import Route, RouteTable
from bridge.routing.tracing import Tracing
from bridge.routing.validation import Validators
from bridge.routing.values import Parsed, Values


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
    config: Config,
    *,
    functions: Mapping[str, object] = RUNTIME,
    others: Mapping[str, object] = MappingProxyType({}),
    traced: bool = True,
    expires: bool = True,
) -> tuple[dict[str, RouteTable], list[Diagnostic]]:
    """Compile every route; return each source's route table, and the mistakes in the routes, up to MAX_MISTAKES.

    `functions` are the globals that the expressions can reach: a dry run has a `now()` of its own. The
    `others` stand for some of these, in deduplication keys too. Unless `traced`, the
    routes write no traces into messages, whatever the configuration says: a dry run compares messages without them.
    Unless `expires`, no event has an expiry: a person who retries a dead letter wants its messages.
    """
    diagnostics: list[Diagnostic] = []
    routes: dict[str, list[Route]] = {name: [] for name in config.sources}
    parsed: Parsed = {}
    validators = Validators(config)
    tables = KnownTables(config.tables, config.rows)
    lookup_functions = {**expressions.lookups(config.rows), **others}
    tracing = _tracing(config) if traced and config.tracing.propagate else {}
    redacted = _redacted(config)
    contexts = _contexts(config, {**functions, **lookup_functions}, tracing, redacted, expires=expires)
    for index, route in enumerate(config.routes):
        if len(diagnostics) >= MAX_MISTAKES:
            break  # nobody reads more
        if route.source not in config.sources:
            continue  # the configuration's own checks report it
        values = Values(("routes", index), diagnostics, parsed, tables)
        compiled = RouteCompiler(route, values, contexts[route.source], validators.of(route.validation)).compile()
        if compiled is not None:
            routes[route.source].append(compiled)
    keys = {
        name: _compile_deduplication(name, config, tables, diagnostics, lookup_functions) for name in config.sources
    }
    for name, of_source in routes.items():
        _read_own_payloads(of_source, keys[name])
    route_tables = {
        name: RouteTable(
            compiled,
            config.sources[name].traits.topics,
            keys[name],
            tracing.get(name),
            validators.of(config.sources[name].validation),
        )
        for name, compiled in routes.items()
    }
    return route_tables, diagnostics


def _read_own_payloads(routes: list[Route], deduplication: Deduplication | None) -> None:
    """Let each route of a source read its own payload, if any has a `decode` of its own."""
    if not payloads.own_kinds(routes):
        return
    for route in routes:
        route.run = payloads.reading(route.decode, route.run)
    if deduplication is not None:
        deduplication.read_payloads()


def _contexts(
    config: Config,
    functions: Mapping[str, object],
    tracing: Mapping[str, Tracing],
    redacted: Collection[str],
    *,
    expires: bool,
) -> dict[str, RouteContext]:
    """Return the surroundings of the routes of each source."""
    actors = config.actors or {}
    max_ages = {name: actor.options.get("max_age") for name, actor in actors.items()}
    queues = config.actor_queues
    return {
        name: RouteContext(
            topics=source.traits.topics,
            kind=source_kind(source),
            functions=functions,
            enforced=actors if config.enforce_manifest else {},
            queues=queues,
            tracing=tracing.get(name),
            gates=GateContext(
                redacted, "expires_in" in source.traits.properties(source).meta, max_ages, expires=expires
            ),
            secrets=config.table_secrets,
        )
        for name, source in config.sources.items()
    }


def _tracing(config: Config) -> dict[str, Tracing]:
    return {
        name: Tracing(config.tracing, name, in_payload=source.traits.presents_json(source))
        for name, source in config.sources.items()
    }


def _redacted(config: Config) -> Collection[str]:
    """Return the parts of an event in which `dead_letters.redact` removes fields."""
    return {path.partition(".")[0] for path in config.dead_letters.redact}


def _compile_deduplication(
    name: str,
    config: Config,
    tables: KnownTables,
    diagnostics: list[Diagnostic],
    lookup_functions: Mapping[str, object],
) -> Deduplication | None:
    """Compile the key of a source."""
    source = config.sources[name]
    if not isinstance(source, DeduplicatedSource) or source.deduplicate is None:
        return None
    text, filename = source.deduplicate.key[1:], f"<deduplicate.key of {name}>"
    try:
        expression = expressions.parse(text, expressions.NAMES)
        tables.check(expression.tables)
        check_names(expression, {"payload", "headers", "meta"}, "many events", "read it from payload, headers or meta")
        check_kind(text, DEDUPLICATION_KEY)
    except InvalidValue as error:
        path = ("sources", name, "deduplicate", "key")
        diagnostics.extend(diagnostic.below(path, prefix=1) for diagnostic in error.diagnostics)
        return None
    evaluate = compile_value(expression, filename, {**DEDUPLICATION_FUNCTIONS, **lookup_functions})
    is_shown = expression.names.isdisjoint(_redacted(config))
    return Deduplication(name, text, evaluate, filename, source.deduplicate.within, is_shown=is_shown)
