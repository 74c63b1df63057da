"""Compiles one route of the configuration into one Python function.

The function is assembled from the syntax trees of the route's expressions:

    def route(_event, payload, _captures, _ids):
        topic, (headers, meta) = _event.topic, _event.readable_details()     # only the names that the route uses
        plant, oven = _captures
        try:
            if not (<when>): return None
        except (KeyError, IndexError): return None
        return _build(<args>, <kwargs>, _ids, <options>, <delay>)

No expression is looked up, parsed or formatted per event. Each expression has its own line number in this function, so
that a traceback shows which place of the route failed, and at which part.

The function of a route that is not plain returns a list of `Message`. In the place of the delay its `_build` takes all
values that choose the target (`target_compiler.py`), and with `foreach` it is called once per element (`foreach.py`).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.config import Route as RouteConfig
from bridge.config.manifest import Actor
from bridge.config.message_options import with_queues
from bridge.config.route_model import MAX_ELEMENTS
from bridge.errors import InvalidValue
from bridge.model.message import Template
from bridge.routing import expressions
from bridge.routing.certain_kinds import check_values
from bridge.routing.expressions import ELEMENT_NAMES, FUNCTIONS, STEPS, STEPS_PER_ELEMENT
from bridge.routing.foreach import Foreach
from bridge.routing.gates import GateContext, Gates
from bridge.routing.message_builder import message_builder
from bridge.routing.route_function import FunctionTrees, compile_function, trace_call
from bridge.routing.routes import Route
from bridge.routing.target_compiler import TargetCompiler, bindings
from bridge.routing.tracing import Marks, Tracing
from bridge.routing.validation import Check, validated_run
from bridge.routing.values import Values, has_expression, literal
from bridge.topics.pattern import Pattern, TopicSyntax


@dataclass(frozen=True, slots=True)
class RouteContext:
    """The surroundings of the routes of one source.

    `topics` is the syntax of its topics, and `kind` its `decode`. `functions` are the globals that expressions can
    reach. `enforced` has the actors of which each call is checked, and `queues` the queue of each actor that the
    manifest knows. `tracing` is None where the routes write no traces. No reason of a dead letter shows one of the
    `secrets`.
    """

    topics: TopicSyntax
    kind: str
    functions: Mapping[str, object]
    enforced: Mapping[str, Actor]
    queues: Mapping[str, str]
    tracing: Tracing | None
    gates: GateContext
    secrets: frozenset[str]


class RouteCompiler:
    """Compiles one route; its `values` make the trees, and take every mistake. `check` refuses payloads by its schema."""

    def __init__(self, config: RouteConfig, values: Values, context: RouteContext, check: Check | None) -> None:
        self._config = config
        self._values = values
        self._context = context
        self._tracing = context.tracing
        self._check = check

    def compile(self) -> Route | None:
        """Return the route, None if it has mistakes."""
        config, values = self._config, self._values
        before = len(values.diagnostics)
        pattern = self._pattern()
        captures = pattern.captures if pattern else ()
        values.names = (*expressions.NAMES, *captures)
        when = values.expression(config.when, ("when",), prefix=0) if config.when is not None else None
        items = self._items(captures)
        static, dynamic, marks = self._options()
        trees = [
            values.value(config.args, ("args",)),
            values.value(config.kwargs, ("kwargs",)),
            values.value(dynamic, ("options",)),
        ]
        due = self._due()
        gates = Gates(config, values, captures, self._context.gates)
        target = None
        if not self._is_plain(gates):
            target = TargetCompiler(config, values, self._context.enforced, self._context.queues, self._tracing)
            trees.append(target.tree(due))
            marks = {**marks, **target.marks}
        if len(values.diagnostics) == before:
            for place, error in check_values(config, captures):
                values.report(place, error, 0)
        if len(values.diagnostics) > before:
            return None
        build: Callable[..., Any]
        if target is not None:
            queue, build = config.queue, gates.gated(target.builder(gates.without_max_age(static), marks))
        else:
            queue, build, trees = self._plain(static, dynamic, marks, [*trees, due])
        functions = {**self._context.functions, **gates.functions}
        write = self._trace_writer({*static, *dynamic}, marks, [queue] if target is None else config.queues)
        if write is not None:
            functions, trees = {**functions, "_trace": write}, [*trees, trace_call()]
        run = compile_function(
            FunctionTrees(
                names=values.used, captures=captures, when=when, values=[*trees, *gates.trees], steps=self._steps()
            ),
            build,
            self._filename,
            functions=functions,
            is_plain=target is None,
            foreach=None if items is None else Foreach(items, config.foreach_limit, values.weight),
        )
        run = validated_run(gates.timed(run), self._check)
        return self._route(pattern, queue, run, is_plain=target is None)

    @property
    def _filename(self) -> str:
        return f"<route {self._config.name}>"

    def _route(self, pattern: Pattern | None, queue: str, run: Callable[..., Any], *, is_plain: bool) -> Route:
        config = self._config
        assert config.name is not None  # noqa: S101 - the model names every route
        return Route(
            name=config.name,
            queue=queue,
            pattern=pattern,
            run=run,
            filename=self._filename,
            source_map=self._values.source_map,
            is_plain=is_plain,
            otherwise=config.otherwise,
            secrets=self._context.secrets,
            decode=config.decode if config.decode not in (None, self._context.kind) else "",
            remedy=self._remedy(),
        )

    def _plain(
        self, static: dict[str, object], dynamic: dict[str, object], marks: Marks, trees: list[ast.expr]
    ) -> tuple[str, Callable[..., Any], list[ast.expr]]:
        """Return the queue of a plain route, the function that builds its message, and the values that this takes."""
        config = self._config
        template = Template(config.actor, config.queue, static, delayed=config.delay is not None)
        if isinstance(config.args, list) and isinstance(config.kwargs, dict) and not dynamic and config.delay is None:
            # Most routes: args is always a list, kwargs always a mapping with text keys, so no event needs a check.
            build, trees = template.fill, trees[:2]
        else:
            delay = config.delay if isinstance(config.delay, int) else None
            binding = bindings(config, self._context.enforced).get(config.actor)
            build = message_builder(template, delay, dynamic_delay=isinstance(config.delay, str), binding=binding)
        if self._tracing is not None and marks:
            build = self._tracing.filled(build, marks)
        return template.queue, build, trees

    def _trace_writer(
        self, options: Collection[str], marks: Marks, queues: Sequence[str]
    ) -> Callable[..., bytes] | None:
        """Return the function that writes the event's trace; None if no message of the route has one."""
        if self._tracing is None or not (marks or self._tracing.forms(options)):
            return None
        # The messages of an event have one span, whichever of the queues they go to.
        return self._tracing.writer(options, queues[0] if len(queues) == 1 else "*")

    def _is_plain(self, gates: Gates) -> bool:
        """Tell whether the route is plain: each event that fits makes one message, for one actor and queue, without a gate."""
        config = self._config
        chooses = config.allow is not None or config.queue_by is not None
        is_special = config.otherwise or config.foreach is not None or config.eta is not None or config.then or chooses
        return not is_special and gates.is_empty

    def _items(self, captures: Sequence[str]) -> ast.expr | None:
        """Return the list of `foreach`; the expressions from here on are those of an element. None without one."""
        config, values = self._config, self._values
        if config.foreach is None:
            return None
        items = values.expression(config.foreach[1:], ("foreach",), prefix=1)
        for name in ELEMENT_NAMES:
            if name in captures:
                assert config.topic is not None  # noqa: S101 - it has the capture
                offset = config.topic.index(f"{{{name}}}")
                hint = "give the capture another name"
                values.report(("topic",), InvalidValue(f"{{{name}}} would hide `{name}` of foreach", hint, offset), 0)
        values.names = (*values.names, *ELEMENT_NAMES)
        values.in_loop = True
        return items

    def _due(self) -> ast.expr:
        """Return the value that says when the message becomes due; null where none does, or where a constant does."""
        delay, eta = self._config.delay, self._config.eta
        if eta is not None:
            return self._values.value(eta, ("eta",))
        return self._values.value(delay if isinstance(delay, str) else None, ("delay",))

    def _steps(self) -> int:
        """Return how many steps the loops of the route may take for one event; 0 without a loop."""
        if self._config.foreach is not None:
            return max(STEPS, STEPS_PER_ELEMENT * self._config.foreach_limit)
        return STEPS if self._values.needs_purse else 0

    def _remedy(self) -> str:
        """Return what to do where the loops take too many steps."""
        limit = max(self._config.foreach_limit, STEPS // STEPS_PER_ELEMENT)
        if self._config.foreach is None or limit >= MAX_ELEMENTS:
            return "leave a part of the work to the actor"
        return f"a foreach_limit of more than {limit} allows more"

    def _pattern(self) -> Pattern | None:
        if self._config.topic is None:
            return None
        try:
            pattern = self._context.topics.compile(self._config.topic)
            for name in pattern.captures:
                if name in expressions.NAMES or name in FUNCTIONS:
                    offset = self._config.topic.index(f"{{{name}}}")
                    raise InvalidValue(f"{{{name}}} would hide `{name}`", "give the capture another name", offset)
        except InvalidValue as error:
            self._values.report(("topic",), error, 0)
            return None
        return pattern

    def _options(self) -> tuple[dict[str, object], dict[str, object], Marks]:
        """Return the constant options, those with an expression, and the marks for traces that tracing has put into them."""
        static: dict[str, object] = {}
        dynamic: dict[str, object] = {}
        options, marks = with_queues(self._config.options, self._context.queues), Marks()
        if self._tracing is not None:
            options, marks = self._tracing.marked(options)
        for name, value in options.items():
            (dynamic if has_expression(value) else static)[name] = value
        return literal(static), dynamic, marks
