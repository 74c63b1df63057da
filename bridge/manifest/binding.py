"""Whether an actor can be called with positional and keyword arguments, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from bridge.config.manifest import Actor, Parameter, ParameterKind
from bridge.config.wording import listed, near_miss, quoted
from bridge.manifest.annotations import json_type


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
        if parameter.values is not None and not any(_same(value, one) for one in parameter.values):
            return f"{parameter.name} is one of {listed(map(quoted, parameter.values))}, not {quoted(value)}"
        if parameter.types is not None and json_type(value) not in parameter.types:
            return f"{parameter.name} is {parameter.annotation}, not {quoted(value)}"
        return ""

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


def _of_kind(actor: Actor, *kinds: ParameterKind) -> list[Parameter]:
    return [each for each in actor.parameters if each.kind in kinds]


def _same(value: object, other: object) -> bool:
    return type(value) is type(other) and value == other
