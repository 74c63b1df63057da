"""Whether an actor can be called with positional and keyword arguments, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from bridge.config.manifest import Actor, Parameter
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
    """The parameters of one actor, arranged for checks. `skip` leaves out the first ones: a pipeline gives them itself."""

    def __init__(self, name: str, actor: Actor) -> None:
        self._name = name
        self.positional = [
            each for each in actor.parameters if each.kind in {"positional-only", "positional-or-keyword"}
        ]
        self._rest = next((each for each in actor.parameters if each.kind == "var-positional"), None)
        self._any_keyword = next((each for each in actor.parameters if each.kind == "var-keyword"), None)
        self._by_keyword = {
            each.name: each for each in actor.parameters if each.kind in {"positional-or-keyword", "keyword-only"}
        }
        self._required = [each for each in actor.parameters if each.required]

    def misfits(self, count: int, keywords: Collection[str], *, more: int = 0) -> Iterator[Misfit]:
        """Yield why a call with `count` positional arguments and these keyword arguments does not bind.

        So many `more` positional arguments come from elsewhere: the result before it in a pipeline, or an error.
        """
        count += more
        if count > len(self.positional) and self._rest is None:
            takes = f"{len(self.positional)} positional argument{'s' * (len(self.positional) != 1)}"
            got = f"{count - more}" if not more else f"{count - more} and {more} from the message before"
            yield Misfit("args", None, f"the actor {self._name} takes {takes}, not {got}", self._signature())
        given = {each.name for each in self.positional[:count]}
        for keyword in keywords:
            if keyword in given and keyword in self._by_keyword:
                yield Misfit("kwargs", keyword, f"{quoted(keyword)} is given by args already")
            elif keyword not in self._by_keyword and self._any_keyword is None:
                hint = near_miss(keyword, self._by_keyword) or self._signature()
                yield Misfit("kwargs", keyword, f"the actor {self._name} has no parameter {quoted(keyword)}", hint)
        by_keyword_only = {each.name for each in self.positional if each.kind == "positional-only"}
        missing = [
            each.name
            for each in self._required
            if each.name not in given and (each.name not in keywords or each.name in by_keyword_only)
        ]
        if missing:
            plural = "s" * (len(missing) != 1)
            message = f"the actor {self._name} also needs the argument{plural} {listed(map(quoted, missing)).replace(' or ', ' and ')}"
            yield Misfit("args", None, message, self._signature())

    def parameter(self, at: int | str) -> Parameter | None:
        """Return the parameter that takes the positional argument `at`, or that keyword."""
        if isinstance(at, int):
            return self.positional[at] if at < len(self.positional) else self._rest
        return self._by_keyword.get(at) or self._any_keyword

    def excluded(self, at: int | str, value: object) -> str:
        """Return why the parameter's annotation excludes `value`, or ""."""
        parameter = self.parameter(at)
        if parameter is None:
            return ""
        if parameter.values is not None and not any(_same(value, one) for one in parameter.values):
            return f"{parameter.name} is one of {listed(map(quoted, parameter.values))}, not {quoted(value)}"
        if parameter.types is not None and json_type(value) not in parameter.types:
            return f"{parameter.name} is {parameter.annotation}, not {quoted(value)}"
        return ""

    def _signature(self) -> str:
        names = [*(each.name for each in self.positional), *(f"*{self._rest.name}" for _ in [0] if self._rest)]
        names += [name for name in self._by_keyword if name not in names]
        return f"its parameters are {', '.join(names)}" if names else "it has no parameters"


def _same(value: object, other: object) -> bool:
    return type(value) is type(other) and value == other


def bindings(actors: Mapping[str, Actor]) -> dict[str, Binding]:
    """Return the binding of each actor."""
    return {name: Binding(name, actor) for name, actor in actors.items()}
