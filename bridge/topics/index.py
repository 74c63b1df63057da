"""An index of topic patterns: a topic finds the patterns that may fit by its levels, however many others there are.

It is a trie. A pattern is a sequence of tokens: a level that stands for itself, `ONE` or `MANY`. The index narrows the
search and misses no pattern; the caller asks each one that is found, for example by `Pattern.match`. Therefore a branch
ends where only one pattern is left, which keeps the trie small, and a token may take more than its wildcard does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Generic, TypeVar

_Value = TypeVar("_Value")
#: A topic enters so many nodes, some 5 ms: a level of a channel of Redis is one character, and there may be a million.
_MAX_STEPS: Final = 10_000


class Wildcard:
    """A token that stands for levels of any text."""


#: One level.
ONE: Final = Wildcard()
#: Any number of levels, also none.
MANY: Final = Wildcard()
_END: Final = Wildcard()

Token = str | Wildcard


class _Leaf(Generic[_Value]):
    """The patterns with the same `tokens`; their values are in the order in which they were added."""

    __slots__ = ("tokens", "values")

    def __init__(self, tokens: tuple[Token, ...], value: _Value) -> None:
        self.tokens = tokens
        self.values = [value]


class _Node(dict[Token, "_Node[_Value] | _Leaf[_Value]"], Generic[_Value]):
    """By the next token, the node or the leaf behind it; `has_wildcard` says whether one of them is a wildcard."""

    __slots__ = ("has_wildcard",)

    def __init__(self) -> None:
        super().__init__()
        self.has_wildcard = False

    def put(self, token: Token, child: _Node[_Value] | _Leaf[_Value]) -> None:
        self[token] = child
        self.has_wildcard = self.has_wildcard or token is ONE or token is MANY


class PatternIndex(Generic[_Value]):
    """Finds the values of the patterns that may fit a topic."""

    def __init__(self) -> None:
        self._root: _Node[_Value] = _Node()

    def add(self, tokens: Sequence[Token], value: _Value) -> None:
        """Add a pattern."""
        key = (*tokens, _END)  # so that no pattern is the beginning of another one
        node, depth = self._root, 0
        while True:
            token = key[depth]
            depth += 1
            child = node.get(token)
            if child is None:
                node.put(token, _Leaf(key, value))
                return
            if isinstance(child, _Leaf):
                if child.tokens == key:
                    child.values.append(value)
                    return
                leaf, child = child, _Node()
                child.put(leaf.tokens[depth], leaf)
                node.put(token, child)
            node = child

    def find(self, levels: Sequence[str]) -> list[_Value]:
        """Return the values of the patterns that may fit a topic of these levels.

        A topic that enters too many nodes is not looked at to its end: then all are found that fit its beginning.
        """
        start, depth = self._root, 0
        while not start.has_wildcard and depth < len(levels):
            child = start.get(levels[depth])
            if child is None:
                return []
            if isinstance(child, _Leaf):
                return list(child.values)
            start = child
            depth += 1
        return _find_behind(start, levels[depth:])

    def overlapping(self, tokens: Sequence[Token]) -> Iterator[_Value]:
        """Return the values of the patterns, one after another, that may fit a topic which a pattern of these tokens fits.

        Only the last token may be MANY, and only that of the index's patterns.
        """
        places: list[tuple[_Node[_Value] | _Leaf[_Value], int]] = [(self._root, 0)]
        while places:
            node, depth = places.pop()
            if isinstance(node, _Leaf):
                yield from node.values
                continue
            token = tokens[depth] if depth < len(tokens) else _END
            if token is MANY:
                places += [(child, depth) for child in node.values()]
                continue
            if token is ONE:
                places += [(child, depth + 1) for each, child in node.items() if each is not MANY and each is not _END]
            else:
                places += [
                    (node[each], depth + 1) for each in {token, ONE} if each in node and (each, token) != (ONE, _END)
                ]
            if MANY in node:
                places += [(child, depth) for child in _leaves(node[MANY])]


def _find_behind(start: _Node[_Value], levels: Sequence[str]) -> list[_Value]:
    """Find as `PatternIndex.find` does, behind the node `start`."""
    found: dict[_Leaf[_Value], None] = {}
    # Behind a MANY a node can be entered at every level from its first one on; any other, at exactly one level.
    lasting: dict[int, _Node[_Value]] = {}
    current = _behind_many([start], lasting, found)
    steps = 0
    for level in levels:
        steps += len(current) + len(lasting)
        if steps > _MAX_STEPS:
            return _values({**found, **_all_leaves([*current, *lasting.values()])})
        children: list[_Node[_Value] | _Leaf[_Value]] = []
        for node in (*current, *lasting.values()):
            if (child := node.get(level)) is not None:
                children.append(child)
            if (child := node.get(ONE)) is not None:
                children.append(child)
        if not children and not lasting:
            return _values(found)
        current = _behind_many(children, lasting, found)
    for node in (*current, *lasting.values()):
        if (child := node.get(_END)) is not None:
            found[child] = None  # type: ignore[index]  # nothing is behind an _END
    return _values(found)


def _all_leaves(nodes: list[_Node[_Value] | _Leaf[_Value]]) -> dict[_Leaf[_Value], None]:
    """Return every leaf behind the nodes."""
    leaves: dict[_Leaf[_Value], None] = {}
    entered: set[int] = set()
    while nodes:
        node = nodes.pop()
        if isinstance(node, _Leaf):
            leaves[node] = None
        elif id(node) not in entered:
            entered.add(id(node))
            nodes += node.values()
    return leaves


def _leaves(node: _Node[_Value] | _Leaf[_Value]) -> list[_Node[_Value] | _Leaf[_Value]]:
    """Return the leaves behind a last MANY: itself, or the one behind its end."""
    return [node] if isinstance(node, _Leaf) else list(node.values())


def _behind_many(
    children: list[_Node[_Value] | _Leaf[_Value]],
    lasting: dict[int, _Node[_Value]],
    found: dict[_Leaf[_Value], None],
) -> list[_Node[_Value]]:
    """Return the nodes of `children`; add the leaves to `found`, and the nodes that are reached by a MANY to `lasting`."""
    nodes = []
    for child in children:
        if isinstance(child, _Leaf):
            found[child] = None
            continue
        nodes.append(child)
        behind = child.get(MANY)
        while behind is not None:
            if isinstance(behind, _Leaf):
                found[behind] = None
                break
            if id(behind) in lasting:
                break
            lasting[id(behind)] = behind
            behind = behind.get(MANY)
    return nodes


def _values(leaves: dict[_Leaf[_Value], None]) -> list[_Value]:
    return [value for leaf in leaves for value in leaf.values]
