"""The gates of a route: `deduplicate` gives each message a key of its own, and `expires` makes none whose time is up.

Each is a wrapper of the function that builds a message, and takes the last of the values for itself. So it works for
each message of a route that makes several.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bridge.config import Route as RouteConfig
from bridge.config.deduplicate import RouteDeduplicate
from bridge.config.units import MAX_MILLISECONDS
from bridge.errors import BadEvent, InvalidValue
from bridge.model.message import Gate, GateRule, Message, MessageIds
from bridge.routing.deduplication import FUNCTIONS, check_names, deduplication_key
from bridge.routing.expressions import ELEMENT_NAMES, Expression
from bridge.routing.route_function import paying, placed
from bridge.routing.values import Values

#: The names that tell the messages of a route apart: a key of others alone would be the same for all of them.
_TELLING: Final = frozenset({"payload", "headers", "meta", "topic", "item"})
#: The functions that a key reaches by other names than the rest of its route: in it null becomes no text.
_RENAMED: Final = {"_str": "_key_str", "_concat": "_key_concat"}
KEY_FUNCTIONS: Final[Mapping[str, object]] = {new: FUNCTIONS[old] for old, new in _RENAMED.items()}
#: Stands for the messages of an event whose time is up: there are none.
EXPIRED: Final[list[Message]] = []

Build = Callable[..., Any]


class _Expired(Exception):
    """Nothing is left of an event's time."""


def check_key(expression: Expression, captures: Collection[str], *, is_of_element: bool) -> None:
    """Check the key of a route whose topic has these `captures`; with a `foreach`, it `is_of_element`.

    Raises:
        InvalidValue: it makes a duplicate of each message, or of none.
    """
    hint = "read it from payload, headers, meta or the topic"
    check_names(expression, _TELLING.union(captures), "all messages", hint)
    if is_of_element and expression.names.isdisjoint(ELEMENT_NAMES):
        hint = "read item or index"
        raise InvalidValue("all elements of an event have this key: only the message of the first is written", hint)


def key_tree(expression: Expression) -> ast.expr:
    """Return the tree of a key for its route's function, which has the KEY_FUNCTIONS."""
    tree = copy.deepcopy(expression.node)  # other routes may have the same expression
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = _RENAMED.get(node.id, node.id)
    return tree


def with_key(build: Build, rule: GateRule) -> Build:
    """Return `build` for one value more, the message's key."""

    def build_with_key(*values: Any) -> Message:
        *others, key = values
        made: Message = build(*others)
        try:
            gate = Gate(rule, deduplication_key(key))
        except (TypeError, ValueError) as error:
            raise BadEvent("wrong-type", f"deduplicate.key: {error}", "deduplicate.key") from None
        return Message(made.queue, made.id, made.body, gate)

    return build_with_key


def with_expiry(build: Build, max_age_ms: object, actors_own: object = None) -> Build:
    """Return `build` for two values more, the event's meta and the time when it came (epoch ms), which bound max_age.

    `max_age_ms` is the max_age of the route's options if that is a constant, otherwise None. `actors_own` is the
    actor's max_age, which counts where the options have none.
    """

    def build_in_time(*values: Any) -> Any:
        args, kwargs, ids, options, *others, meta, received_at = values
        left_ms = _left_ms(meta, received_at, ids)
        own = options.get("max_age", max_age_ms)
        if left_ms is not None:
            bound = own or actors_own
            if not bound or (type(bound) is int and bound > left_ms):
                own = left_ms
        return build(args, kwargs, ids, options if own is None else {**options, "max_age": own}, *others)

    return build_in_time


def _left_ms(meta: Mapping[str, Any], received_at_ms: int, ids: MessageIds) -> int | None:
    """Return the time that is left of an event's expiry, None if it has none.

    Raises:
        _Expired: none is left.
    """
    expires_in_s = meta.get("expires_in")
    if expires_in_s is None:
        return None
    left_ms: int = round(expires_in_s * 1000) - max(0, ids.now_ms - received_at_ms)
    # For Dramatiq a max_age of 0 is none.
    if left_ms <= 0:
        raise _Expired
    return min(left_ms, MAX_MILLISECONDS)


def unless_expired(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function of a route with `with_expiry`, which returns EXPIRED where no time is left."""

    def run_in_time(*arguments: Any) -> Any:
        try:
            return run(*arguments)
        except _Expired:
            return EXPIRED

    return run_in_time


@dataclass(frozen=True, slots=True)
class GateContext:
    """The surroundings of the gates of a source's routes.

    `redacted` has the parts of an event in which `dead_letters.redact` removes fields. `is_timed` says whether an event
    of the source can have an expiry. `max_ages` has the max_age of each actor that the manifest knows, by its name.
    Unless `expires`, no event has an expiry.
    """

    redacted: Collection[str]
    is_timed: bool
    max_ages: Mapping[str, object]
    expires: bool = True


class Gates:
    """The gates of one route; its mistakes are reported to `values`.

    `trees` are those of the values that a `gated` builder takes behind its own.
    """

    def __init__(self, config: RouteConfig, values: Values, captures: Collection[str], context: GateContext) -> None:
        self.trees: list[ast.expr] = []
        self.expires = config.expires and context.expires
        self._rule: GateRule | None = None
        self._max_age_ms: object = None
        # A message's max_age would replace it.
        self._actors_own = context.max_ages.get(config.actors[0]) if len(config.actors) == 1 else None
        if config.expires and not context.is_timed:
            hint = "remove expires: MQTT 5 and AMQP have an expiry"
            values.report(("expires",), InvalidValue("no event of this source has an expiry", hint), 0)
        if self.expires:
            values.used |= {"meta", "received_at"}
            self.trees += [placed(ast.Name(name, ast.Load())) for name in ("meta", "received_at")]
        if config.deduplicate is not None:
            self._add_key(str(config.name), config.deduplicate, values, captures, context)

    def _add_key(
        self,
        route: str,
        config: RouteDeduplicate,
        values: Values,
        captures: Collection[str],
        context: GateContext,
    ) -> None:
        place = ("deduplicate", "key")
        values.expression(config.key[1:], place, prefix=1)
        expression = values.latest
        if expression is None:
            return
        try:
            check_key(expression, captures, is_of_element=values.in_loop)
        except InvalidValue as error:
            values.report(place, error, 1)
            return
        self._rule = GateRule(route, config.within, is_shown=expression.names.isdisjoint(context.redacted))
        tree = key_tree(expression)
        self.trees.append(paying(tree) if values.in_loop else tree)

    @property
    def is_empty(self) -> bool:
        """Whether the route has no gate, so that it writes whatever it makes."""
        return self._rule is None and not self.expires

    def without_max_age(self, static: dict[str, object]) -> dict[str, object]:
        """Return the constant options without the one that the event's time changes."""
        if not self.expires:
            return static
        self._max_age_ms = static.get("max_age")
        return {name: value for name, value in static.items() if name != "max_age"}

    @property
    def functions(self) -> Mapping[str, object]:
        """The functions that the `trees` call, and no other value of a route does."""
        return {} if self._rule is None else KEY_FUNCTIONS

    def gated(self, build: Build) -> Build:
        """Return `build`, which returns a `Message`, for the values of `trees` behind its own."""
        if self.expires:
            build = with_expiry(build, self._max_age_ms, self._actors_own)
        return build if self._rule is None else with_key(build, self._rule)

    def timed(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """Return the route's function, which returns EXPIRED where no time is left."""
        return unless_expired(run) if self.expires else run
