"""Compiles the target of a route that is not plain: `allow`, `queue_by`, `eta`, and the steps of `then`."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import partial

from bridge.config import Route as RouteConfig
from bridge.config.dollar import is_expression
from bridge.config.manifest import Actor
from bridge.config.message_options import with_queues
from bridge.config.target_model import Step
from bridge.errors import InvalidValue, KeyPath
from bridge.manifest.binding import Binding
from bridge.model.message import Message
from bridge.routing.expressions import ELEMENT_NAMES
from bridge.routing.route_function import paying, placed
from bridge.routing.steps import CompiledStep
from bridge.routing.targets import TargetBuilder, chooser, templates
from bridge.routing.tracing import Marks, Tracing
from bridge.routing.values import Values, has_expression, literal


def bindings(config: RouteConfig | Step, enforced: Mapping[str, Actor]) -> dict[str, Binding]:
    """Return the parameters of a call's actors that are `enforced`; a call that is written out was checked at load."""
    if isinstance(config.args, list) and isinstance(config.kwargs, dict):
        return {}
    names = config.actors if isinstance(config, RouteConfig) else [config.actor]
    return {name: Binding(name, enforced[name]) for name in names if name in enforced and enforced[name].certain}


class TargetCompiler:
    """Compiles the target of one route; its `marks` stand for the traces in the steps."""

    def __init__(
        self,
        config: RouteConfig,
        values: Values,
        enforced: Mapping[str, Actor],
        queues: Mapping[str, str],
        tracing: Tracing | None,
    ) -> None:
        self._config = config
        self._values = values
        self._enforced = enforced
        self._queues = queues
        self._tracing = tracing
        self._steps: list[CompiledStep] = []
        self.marks: Marks = {}

    def tree(self, due: ast.expr) -> ast.expr:
        """Return the tuple of the `TargetValues`, of which `due` is the first."""
        config, values = self._config, self._values
        allow = config.allow
        chosen = [
            values.value(config.actor if allow is not None and allow.actor is not None else None, ("actor",)),
            values.value(config.queue if allow is not None and allow.queue is not None else None, ("queue",)),
            self._key(),
        ]
        before = config.actors
        steps = []
        for number, step in enumerate(config.then):
            steps.append(self._step(number, step, before))
            before = [step.actor]
        return placed(ast.Tuple([due, *chosen, placed(ast.List(steps, ast.Load()))], ast.Load()))

    def builder(self, static: dict[str, object], marks: Marks) -> Callable[..., Message]:
        """Return the function that builds the message; the route's own options that are constant are `static`."""
        config, tracing = self._config, self._tracing
        return TargetBuilder(
            choose=chooser(config),
            template_of=templates(static),
            steps=self._steps,
            bindings=bindings(config, self._enforced),
            delay_ms=config.delay if isinstance(config.delay, int) else None,
            is_eta=config.eta is not None,
            fill_traces=partial(tracing.with_trace, marks=marks) if tracing is not None and marks else None,
        ).build

    def _key(self) -> ast.expr:
        """Return the value that chooses the queue; null without one."""
        by_key, values = self._config.queue_by, self._values
        key = values.value(None if by_key is None else by_key.key, ("queue_by", "key"))
        return paying(key) if values.in_loop and by_key is not None else key

    def _step(self, number: int, step: Step, before: list[str]) -> ast.expr:
        """Compile a step behind one of the actors `before`; return the tuple of its values."""
        place, values = ("then", number), self._values
        options = with_queues(step.options, self._queues)
        if self._tracing is not None:
            # As the options of a message in the route's own: they have the mark of their own trace, too.
            outer, marks = self._tracing.marked({"pipe_target": {"options": options}})
            options = outer["pipe_target"]["options"]
            self.marks.update(marks)
        dynamic = {name: value for name, value in options.items() if has_expression(value)}
        static = literal({name: value for name, value in options.items() if name not in dynamic})
        if step.ignore_result:
            static["pipe_ignore"] = True
        results = {0 if step.ignore_result or self._ignores(actor) else 1 for actor in before}
        binding = bindings(step, self._enforced).get(step.actor) if len(results) == 1 else None
        self._steps.append(CompiledStep(step.actor, step.queue, static, binding, max(results)))
        trees = [
            values.value(step.args, (*place, "args")),
            values.value(step.kwargs, (*place, "kwargs")),
            values.value(dynamic, (*place, "options")),
            values.value(step.delay, (*place, "delay")),
            self._message_id(step.message_id, (*place, "message_id")),
        ]
        return placed(ast.Tuple(trees, ast.Load()))

    def _message_id(self, message_id: str | None, place: KeyPath) -> ast.expr:
        """Compile the id of a step; of several elements, each has its own."""
        values = self._values
        tree = values.value(message_id, place)
        if not values.in_loop or message_id is None:
            return tree
        is_constant = not is_expression(message_id)
        if is_constant or (values.latest is not None and values.latest.names.isdisjoint(ELEMENT_NAMES)):
            message = "all elements of an event have this id, under which only one result is found"
            values.report(place, InvalidValue(message, "read item or index"), 0)
        return tree

    def _ignores(self, actor: str) -> bool:
        known = self._enforced.get(actor)
        return known is not None and bool(known.options.get("pipe_ignore"))
