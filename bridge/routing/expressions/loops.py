"""Loops: comprehensions, rewritten so that each turn pays from the purse.

    [f(x.a) for x in LIST if x.b == x.c]
    [_metered(_work, _f, x["a"]) for x in _each(_work, LIST, WEIGHT, PLACE) if _metered(_work, _eq, x["b"], x["c"])]

WEIGHT is what one turn costs, counted here from the body. The twin `_metered` pays for the size of the values that a
function gets and makes. Outside loops no function has a twin.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection
from typing import Final

from bridge.config.wording import describe, quoted
from bridge.routing.expressions.purse import PURSE, Place
from bridge.routing.expressions.syntax import Text

#: Functions that take a comprehension without brackets as their only argument.
TAKE_LOOPS: Final = frozenset({"any", "all", "sum", "min", "max", "sort", "unique", "flatten", "len"})
#: Functions whose cost does not depend on the size of what they are given.
_CONSTANT_COST: Final = frozenset({"default", "has", "catch", "len", "type", "now", "abs"})
#: Functions whose twin is not `metered`: see `purse.py`.
_TWINS: Final = {
    "matches": "searched",
    "capture": "searched",
    "json": "parsed",
    "slice": "sliced",
    "split": "seeking",
    "replace": "seeking",
    "strip": "seeking",
}
_MAX_NESTED: Final = 3

# The weights: the steps that each part of a body costs in each turn.
NODE: Final = 1
_TURN: Final = 1
#: In a loop with two names: to check that an element is a list of two, and to take it apart.
_PAIR: Final = 4
#: A list that is written out; a mapping weighs twice as much.
CONTAINER: Final = 20
ARITHMETIC: Final = 50
POWER: Final = 300
#: A call, or an f-string.
CALL: Final = 100
#: The check that a key of a mapping is text.
_KEY: Final = 30

Comprehension = ast.ListComp | ast.DictComp | ast.GeneratorExp


class Loops:
    """The loops of one expression. `rewrite` rewrites a node within one, and `names` are those that no loop may hide."""

    def __init__(
        self, text: Text, names: Collection[str], rewrite: Callable[[ast.expr], ast.expr], line: int, *, in_loop: bool
    ) -> None:
        self._text = text
        self._protected = names
        self._rewrite = rewrite
        self._line = line
        #: Around the current node: so many bodies of loops, and so many lists that loops run over.
        self._bodies = int(in_loop)
        self._iterables = 0
        #: Of the expression, and of the body of each loop around the current node.
        self._weights = [0]
        #: The names of the loops around the current node, as Python normalizes them.
        self.names: list[str] = []
        self._nested = 0
        #: Whether the expression reads the purse.
        self.needs_purse = False

    @property
    def weight(self) -> int:
        """What the current body weighs so far; outside all loops, the expression."""
        return self._weights[-1]

    @property
    def is_metered(self) -> bool:
        """Whether the current node runs once per turn of a loop."""
        return self._bodies > 0

    @property
    def takes_assignments(self) -> bool:
        """Whether Python takes an assignment here: not in what a comprehension runs over."""
        return not self._iterables

    def add(self, weight: int) -> None:
        """Add to the weight of the current body."""
        self._weights[-1] += weight

    def call(self, name: str, *args: ast.expr) -> ast.Call:
        """Return the call of a function of RUNTIME, or of the twin of it that pays, where it runs once per turn."""
        self.add(CALL)
        if not self._bodies or name in _CONSTANT_COST:
            return call(name, *args)
        return self.purse_call(_TWINS.get(name, "metered"), ast.Name(f"_{name}", ast.Load()), *args)

    def purse_call(self, name: str, *args: ast.expr) -> ast.Call:
        """Return the call of a function of `purse.py`."""
        self.needs_purse = True
        return call(name, ast.Name(PURSE, ast.Load()), *args)

    def paid(self, value: ast.expr) -> ast.expr:
        """Return a value that pays for its size, where it is evaluated once per turn."""
        return self.purse_call("paid", value) if self._bodies else value

    def comprehension(self, node: Comprehension) -> ast.expr:
        """Return a list or a mapping that is made of another list."""
        loop = self._only_loop(node)
        names = self._targets(loop)
        if self._nested >= _MAX_NESTED:
            raise self._text.error(node, f"comprehensions are nested more than {_MAX_NESTED} deep")
        items = self._list(loop.iter)
        self.names += [name.id for name in names]
        self._nested += 1
        self._bodies += 1
        self._weights.append(_TURN)
        key = self.key(node.key) if isinstance(node, ast.DictComp) else None
        element = self._rewrite(node.value if isinstance(node, ast.DictComp) else node.elt)
        conditions = [self._rewrite(each) for each in loop.ifs]
        weight = self._weights.pop()
        self._bodies -= 1
        self._nested -= 1
        del self.names[-len(names) :]
        self.add(CALL)  # for `each`
        (start, end), (list_start, list_end) = self._text.place(node), self._text.place(loop.iter)
        self.needs_purse = True
        place = (self._line, list_start, list_end, start, end)
        run = begin(items, weight, place) if len(names) == 1 else begin(items, weight + _PAIR, place, "each_pair")
        ast.copy_location(run, items)
        stored: list[ast.expr] = [ast.Name(name.id, ast.Store()) for name in names]
        target = stored[0] if len(stored) == 1 else ast.Tuple(stored, ast.Store())
        turns = [ast.comprehension(target, run, conditions, is_async=0)]
        return ast.ListComp(element, turns) if key is None else ast.DictComp(key, element, turns)

    def _only_loop(self, node: Comprehension) -> ast.comprehension:
        loop, *others = node.generators
        if loop.is_async:
            raise self._text.error(node, "'async' can't be used in an expression")
        if others:
            hint = "write one comprehension within the other: [[... for y in x.list] for x in payload.list]"
            raise self._text.error(others[0].target, "a comprehension has one 'for'", hint)
        if len(loop.ifs) > 1:
            raise self._text.error(loop.ifs[1], "a comprehension has one 'if'", "write 'and'")
        return loop

    def _targets(self, loop: ast.comprehension) -> list[ast.Name]:
        """Return the names that the loop gives to the parts of an element."""
        target = loop.target
        parts = target.elts if isinstance(target, ast.Tuple) else [target]
        names = [part for part in parts if isinstance(part, ast.Name)]
        if len(names) < len(parts) or len(names) != (2 if isinstance(target, ast.Tuple) else 1):
            raise self._text.error(target, "behind 'for' stands one name, or two with a comma", "as in: for line in")
        for position, name in enumerate(names):
            self._check_name(name, [other.id for other in names[:position]])
        return names

    def _check_name(self, name: ast.Name, before: list[str]) -> None:
        if name.id in self._protected or name.id in self.names:
            raise self._text.error(name, f"{quoted(name.id)} would hide `{name.id}`", "choose another name")
        if name.id in before:
            raise self._text.error(name, f"{quoted(name.id)} stands twice", "choose another name")
        if name.id.startswith("_") and name.id != "_":
            raise self._text.error(name, "the name of an element does not begin with '_'", "choose another name")
        if name.id in ("true", "false", "null"):
            raise self._text.error(name, f"{quoted(name.id)} is a word of the language", "choose another name")

    def _list(self, node: ast.expr) -> ast.expr:
        """Return what the loop runs over."""
        self._iterables += 1
        items = self._rewrite(node)
        self._iterables -= 1
        literal: object = items.value if isinstance(items, ast.Constant) else {} if isinstance(items, ast.Dict) else []
        if type(literal) is not list:
            hint = "write items(x) for its keys and values" if type(literal) is dict else ""
            raise self._text.error(node, f"a loop takes a list, not {describe(literal)}", hint)
        return items

    def key(self, node: ast.expr) -> ast.expr:
        """Return the key of a mapping, which is text."""
        key = self._rewrite(node)
        if isinstance(key, ast.Constant):
            if type(key.value) is not str:
                raise self._text.error(node, f"a key of a mapping is text, not {describe(key.value)}")
            return key
        self.add(_KEY)
        return ast.copy_location(self.purse_call("keyed", key) if self._bodies else call("key", key), key)


def call(name: str, *args: ast.expr) -> ast.Call:
    """Return the call of a function of RUNTIME."""
    return ast.Call(ast.Name(f"_{name}", ast.Load()), list(args), [])


def begin(items: ast.expr, weight: int, place: Place, function: str = "each") -> ast.expr:
    """Return what a loop runs over: the elements of `items`, each turn of which costs `weight`.

    A failure within the loop names the element: see `Place`. The caller places the new nodes.
    """
    return call(function, ast.Name(PURSE, ast.Load()), items, ast.Constant(weight), ast.Constant(place))  # type: ignore[arg-type]
