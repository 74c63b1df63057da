"""Compiles one route of the configuration into one Python function.

The function is assembled from the syntax trees of the route's expressions:

    def route(_event, payload, _captures, _ids):
        topic, (headers, meta) = _event.topic, _event.details()     # only the names that the route uses
        plant, oven = _captures
        try:
            if not (<when>): return None
        except (KeyError, IndexError): return None
        return _build(<args>, <kwargs>, _ids, <options>, <delay>)

No expression is looked up, parsed or formatted per event. Each expression has its own line number
in this function, so that a traceback shows which place of the route failed, and at which part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bridge.config import Route as RouteConfig
from bridge.config.manifest import Actor
from bridge.config.message_options import with_queues
from bridge.errors import InvalidValue
from bridge.manifest.binding import Binding
from bridge.model.message import Template
from bridge.routing import expressions
from bridge.routing.expressions import FUNCTIONS
from bridge.routing.functions import compile_function, trace_call
from bridge.routing.gates import KEY_FUNCTIONS, GateContext, Gates
from bridge.routing.message_builder import message_builder
from bridge.routing.routes import Route
from bridge.routing.tracing import Marks, Tracing
from bridge.routing.values import Values, has_expression, literal
from bridge.topics.pattern import Pattern, TopicSyntax


class RouteCompiler:
    """Compiles one route; its `values` make the trees, and take every mistake."""

    def __init__(
        self,
        config: RouteConfig,
        values: Values,
        topics: TopicSyntax,
        *,
        functions: Mapping[str, object],
        enforced: Mapping[str, Actor] | None,
        queues: Mapping[str, str],
        tracing: Tracing | None,
        gates: GateContext,
    ) -> None:
        self._config = config
        self._values = values
        self._topics = topics
        self._functions = functions
        self._enforced = enforced
        self._queues = queues
        self._tracing = tracing
        self._gates = gates

    def compile(self) -> Route | None:
        """Return the route, None if it has mistakes."""
        config, values = self._config, self._values
        before = len(values.diagnostics)
        pattern = self._pattern()
        captures = pattern.captures if pattern else ()
        values.names = (*expressions.NAMES, *captures)
        when = values.expression(config.when, ("when",), prefix=0) if config.when is not None else None
        static, dynamic, marks = self._options()
        body = [
            values.value(config.args, ("args",)),
            values.value(config.kwargs, ("kwargs",)),
            values.value(dynamic, ("options",)),
            values.value(config.delay if isinstance(config.delay, str) else None, ("delay",)),
        ]
        gates = Gates(config, values, captures, self._gates)
        if len(values.diagnostics) > before:
            return None
        assert config.name is not None  # noqa: S101 - the model names every route
        filename = f"<route {config.name}>"
        static = gates.without_max_age(static)
        template = Template(config.actor, config.queue, static, delayed=config.delay is not None)
        build: Callable[..., Any]
        needs_check = dynamic or config.delay is not None or gates.expires
        if isinstance(config.args, list) and isinstance(config.kwargs, dict) and not needs_check:
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
        if not gates.are_open:
            functions, body = {**functions, **KEY_FUNCTIONS}, [*body, *gates.trees]
            build = gates.filled(build, template.queue)
        run = compile_function((values.used, captures), when, body, build, filename, functions=functions)
        return Route(
            name=config.name,
            queue=template.queue,
            pattern=pattern,
            run=gates.timed(run),
            filename=filename,
            source_map=values.source_map,
            is_plain=gates.are_open,
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
            self._values.report(("topic",), error, 0)
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
            (dynamic if has_expression(value) else static)[name] = value
        return literal(static), dynamic, marks
