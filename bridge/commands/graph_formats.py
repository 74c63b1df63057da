"""A drawing as text, as Mermaid and as DOT. Every name stands between quotes in the last two, with its signs escaped.

Nodes have identifiers of our own, `s1`, `r1`, `a1`: no name of a configuration is ever one, such as Mermaid's `end`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bridge.commands.graph_model import Drawing, DrawnRoute, DrawnSource
from bridge.commands.targets import spell_targets

# In a label of Mermaid a sign may be markup: Markdown, HTML, an icon (fa:...), a formula ($$), an entity (#...;), a directive
# (%%{). Its number in an entity never is.
_MERMAID_PLAIN: Final = frozenset(" /,(=)")
#: These are plain between letters and digits only.
_MERMAID_INSIDE: Final = frozenset(".-_")


_DASHED: Final = "style=dashed"


def as_text(drawing: Drawing) -> Iterator[str]:
    """Yield lines: each source with its routes, as `check` has them."""
    for source in drawing.sources:
        yield f"{_source(source)}{_bracketed(source.came)}"
        if not source.routes:
            yield "  no route"
        for route in source.routes:
            topic = f" {route.topic}" if route.topic else ""
            when = f" when {route.when}" if route.when else ""
            rest = " otherwise" if route.otherwise else ""
            target = spell_targets(route.targets, route.steps)
            yield f"  {_name(route)}:{topic}{when}{rest} -> {target}{_bracketed(*_flow(route))}"
        yield f"  dead letters -> {drawing.dead_letters}{_bracketed(source.dead)}"


def as_mermaid(drawing: Drawing) -> Iterator[str]:
    """Yield the lines of a flowchart."""
    yield "flowchart LR"
    actors = _actors(drawing)
    for number, (queue, names) in enumerate(drawing.targets().items(), 1):
        yield f"  subgraph q{number}[{_mermaid(f'queue {queue}')}]"
        for actor in names:
            yield f"    {actors[queue, actor]}[{_mermaid(actor)}]"
        yield "  end"
    yield f"  dead[({_mermaid('dead letters', drawing.dead_letters)})]"
    for source, identifier, routes in _numbered(drawing):
        yield f"  {identifier}([{_mermaid(_source(source), source.came)}])"
        for route, its in routes:
            yield f"  {its}[{_mermaid(_name(route), route.topic, route.when and f'when {route.when}')}]"
            arrow = "-.->" if route.otherwise else "-->"
            yield f"  {identifier} {arrow}{_mermaid_edge(*_coming(route))} {its}"
            for target in route.targets:
                yield f"  {its} -->{_mermaid_edge(route.matched)} {actors[target]}"
            for before, after in _steps(route):
                yield f"  {actors[before]} -->{_mermaid_edge('then')} {actors[after]}"
            if _has_any(route.dead):
                yield f"  {its} -.->{_mermaid_edge(route.dead)} dead"
        yield f"  {identifier} -.->{_mermaid_edge(source.dead)} dead"


def as_dot(drawing: Drawing) -> Iterator[str]:
    """Yield the lines of a digraph for Graphviz."""
    yield "digraph bridge {"
    yield "  rankdir=LR; node [shape=box];"
    actors = _actors(drawing)
    for number, (queue, names) in enumerate(drawing.targets().items(), 1):
        yield f"  subgraph cluster_q{number} {{"
        yield f"    label={_dot(f'queue {queue}')};"
        for actor in names:
            yield f"    {actors[queue, actor]} [label={_dot(actor)}];"
        yield "  }"
    yield f"  dead [shape=cylinder, label={_dot('dead letters', drawing.dead_letters)}];"
    for source, identifier, routes in _numbered(drawing):
        yield f"  {identifier} [shape=oval, label={_dot(_source(source), source.came)}];"
        for route, its in routes:
            yield f"  {its} [label={_dot(_name(route), route.topic, route.when and f'when {route.when}')}];"
            yield f"  {identifier} -> {its}{_dot_edge(*_coming(route), style=_DASHED if route.otherwise else '')};"
            for target in route.targets:
                yield f"  {its} -> {actors[target]}{_dot_edge(route.matched)};"
            for before, after in _steps(route):
                yield f"  {actors[before]} -> {actors[after]}{_dot_edge('then')};"
            if _has_any(route.dead):
                yield f"  {its} -> dead{_dot_edge(route.dead, style=_DASHED)};"
        yield f"  {identifier} -> dead{_dot_edge(source.dead, style=_DASHED)};"
    yield "}"


def _actors(drawing: Drawing) -> dict[tuple[str, str], str]:
    """Return the identifier of each actor in each queue."""
    pairs = [(queue, actor) for queue, names in drawing.targets().items() for actor in names]
    return {pair: f"a{number}" for number, pair in enumerate(pairs, 1)}


def _numbered(drawing: Drawing) -> Iterator[tuple[DrawnSource, str, list[tuple[DrawnRoute, str]]]]:
    """Yield each source with its identifier, and its routes with theirs."""
    count = 0
    for number, source in enumerate(drawing.sources, 1):
        routes = [(route, f"r{count + at}") for at, route in enumerate(source.routes, 1)]
        count += len(routes)
        yield source, f"s{number}", routes


def _source(source: DrawnSource) -> str:
    return f"{source.name} ({source.type}){', paused' if source.paused else ''}"


def _name(route: DrawnRoute) -> str:
    return f"{route.name}{', paused' if route.paused else ''}"


def _coming(route: DrawnRoute) -> tuple[str, str]:
    return "otherwise" if route.otherwise else "", route.came


def _steps(route: DrawnRoute) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """Yield each step with the one before: the first one stands behind every target."""
    if route.steps:
        yield from ((target, route.steps[0]) for target in route.targets)
    yield from zip(route.steps, route.steps[1:], strict=False)


def _has_any(label: str) -> bool:
    return label not in {"", "0/s"}


def _flow(route: DrawnRoute) -> tuple[str, str]:
    matched = f"{route.matched} of {route.came}" if route.matched else ""
    return matched, f"{route.dead} dead letters" if _has_any(route.dead) else ""


def _bracketed(*labels: str) -> str:
    text = ", ".join(filter(None, labels))
    return f"  [{text}]" if text else ""


def _mermaid_edge(*labels: str) -> str:
    return f"|{_mermaid(*labels)}|" if any(labels) else ""


def _mermaid(*lines: str) -> str:
    """Return a label of these lines, between quotes."""
    return f'"{"<br/>".join(map(_mermaid_line, filter(None, lines)))}"'


def _mermaid_line(text: str) -> str:
    return "".join(
        char if _is_plain(char, text[:at], text[at + 1 : at + 2]) else f"#{ord(char)};" for at, char in enumerate(text)
    )


def _is_plain(char: str, before: str, after: str) -> bool:
    """Whether Mermaid shows a character as it is."""
    if char in _MERMAID_INSIDE:  # `1. x` and `- x` are lists, `www.x` is a link
        return before[-1:].isalnum() and after.isalnum() and not before.lower().endswith("www")
    if char == ")":  # `1) x` is a list
        return not before[-1:].isdecimal()
    return char.isalnum() or (char in _MERMAID_PLAIN and (before != "" or char != " "))


def _dot_edge(*labels: str, style: str = "") -> str:
    attributes = [style, f"label={_dot(*labels)}" if any(labels) else ""]
    return f" [{', '.join(filter(None, attributes))}]" if any(attributes) else ""


def _dot(*lines: str) -> str:
    r"""Return a label of these lines, between quotes: in it a backslash begins an escape, `\N` is the node's name, and `&` an entity."""
    texts = (line.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;") for line in filter(None, lines))
    return '"' + "\\n".join(texts) + '"'
