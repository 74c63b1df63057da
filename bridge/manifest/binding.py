"""Whether an actor can be called with positional and keyword arguments, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from bridge.config.dollar import is_expression, literal_text
from bridge.config.manifest import Actor, JsonType, Parameter, ParameterKind, Shape
from bridge.config.wording import listed, near_miss, quoted
from bridge.manifest.annotations import json_type

_WORDS: Final[dict[JsonType, str]] = {
    "null": "null",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "array": "a list",
    "object": "a mapping",
}


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a call does not bind. It is about `args`, or its element `at`; or about `kwargs`, or its key `at`."""

    where: Literal["args", "kwargs"]
    at: int | str | None
    message: str
    hint: str = ""

    def __str__(self) -> str:
        """Return `message; hint`."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


class Binding:
    """The parameters of one actor, arranged once, so that each call is checked quickly."""

    def __init__(self, name: str, actor: Actor) -> None:
        self._name = name
        self._parameters = actor.parameters
        self._positional = _of_kind(actor, "positional-only", "positional-or-keyword")
        self._by_keyword = {each.name: each for each in _of_kind(actor, "positional-or-keyword", "keyword-only")}
        self._position_only = {each.name for each in _of_kind(actor, "positional-only")}
        self._rest = next(iter(_of_kind(actor, "var-positional")), None)
        self._any_keyword = next(iter(_of_kind(actor, "var-keyword")), None)
        self._required = [each for each in actor.parameters if each.required]

    def misfits(
        self, count: int | None, keywords: Collection[str] | None, *, more: int = 0, from_where: str = ""
    ) -> Iterator[Misfit]:
        """Yield why a call with `count` positional arguments and these keyword arguments does not bind.

        None is for those that only an event tells. Dramatiq adds `more` positional arguments itself, `from_where`: the
        result of the message before in a pipeline, or the arguments of a callback.
        """
        total = (count or 0) + more
        if total > len(self._positional) and self._rest is None:
            takes = f"{len(self._positional)} positional argument{'s' * (len(self._positional) != 1)}"
            got = f"{count or 0} and {more} {from_where}" if more else f"{count}"
            yield Misfit("args", None, f"the actor {self._name} takes {takes}, not {got}", self._signature())
        given = {each.name for each in self._positional[:total]}
        for keyword in keywords or ():
            if keyword in given and keyword in self._by_keyword:
                yield Misfit("kwargs", keyword, f"{quoted(keyword)} is given by args already")
            elif keyword not in self._by_keyword and self._any_keyword is None:
                yield self._unknown(keyword)
        if count is None or keywords is None:
            return
        given.update(keyword for keyword in keywords if keyword in self._by_keyword)
        missing = [each for each in self._required if each.name not in given]
        # One that was written on the wrong side was named above.
        if missing and not all(each.name in keywords for each in missing):
            words = f"the argument{'s' * (len(missing) != 1)} {listed([quoted(each.name) for each in missing], 'and')}"
            where: Literal["args", "kwargs"] = "kwargs" if missing[0].kind == "keyword-only" else "args"
            hint = f"write it into {where}; {self._signature()}"
            yield Misfit(where, None, f"the actor {self._name} also needs {words}", hint)

    def excluded(self, at: int | str, value: object) -> str:
        """Return why the parameter's annotation excludes `value`, or ""."""
        parameter = self._parameter(at)
        if parameter is None or (not parameter.required and _same(value, parameter.default)):
            return ""
        return next(_excluded(parameter.name, parameter.annotation, parameter.shape, value), "")

    def _parameter(self, at: int | str) -> Parameter | None:
        """Return the parameter that takes the positional argument `at`, or that keyword."""
        if isinstance(at, int):
            return self._positional[at] if at < len(self._positional) else self._rest
        return self._by_keyword.get(at) or self._any_keyword

    def _unknown(self, keyword: str) -> Misfit:
        if keyword in self._position_only:
            message = f"the actor {self._name} takes {quoted(keyword)} by its position only"
            return Misfit("kwargs", keyword, message, "write it into args")
        hint = near_miss(keyword, self._by_keyword) or self._signature()
        return Misfit("kwargs", keyword, f"the actor {self._name} has no parameter {quoted(keyword)}", hint)

    def _signature(self) -> str:
        """Return the parameters as Python writes them."""
        if not self._parameters:
            return "it has no parameters"
        words: list[str] = []
        for place, each in enumerate(self._parameters):
            before = self._parameters[place - 1].kind if place else None
            if before == "positional-only" != each.kind:
                words.append("/")
            if each.kind == "keyword-only" and before not in {"keyword-only", "var-positional"}:
                words.append("*")
            words.append({"var-positional": "*", "var-keyword": "**"}.get(each.kind, "") + each.name)
        if self._parameters[-1].kind == "positional-only":
            words.append("/")
        return f"its parameters are ({', '.join(words)})"


def _excluded(name: str, annotation: str, shape: Shape, value: object) -> Iterator[str]:
    """Yield why a shape excludes a value, or its elements; text that is an expression may give any value."""
    if is_expression(value):
        return
    literal = literal_text(value) if isinstance(value, str) else value
    if shape.values is not None and not any(_same(literal, one) for one in shape.values):
        yield f"{name} is one of {listed(map(quoted, shape.values))}, not {quoted(literal)}"
    elif shape.types is not None and json_type(literal) not in shape.types:
        within = f" in {annotation}" if "[" in name else ""
        takes = listed(map(_WORDS.__getitem__, shape.types)) if within else annotation
        yield f"{name}{within} is {takes}, not {quoted(literal)}"
    elif shape.items is not None and isinstance(literal, (list, dict)):
        for key, item in literal.items() if isinstance(literal, dict) else enumerate(literal):
            yield from _excluded(f"{name}[{quoted(key)}]", annotation, shape.items, item)


def _of_kind(actor: Actor, *kinds: ParameterKind) -> list[Parameter]:
    return [each for each in actor.parameters if each.kind in kinds]


def _same(value: object, other: object) -> bool:
    return type(value) is type(other) and value == other
