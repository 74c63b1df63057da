"""The signature of a function of the language: how many arguments it takes, and which of them are checked at load."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple


class NotConstant:
    """Stands for an argument that only an event can tell."""


NOT_CONSTANT: Final = NotConstant()


class Checked(NamedTuple):
    """An argument that is checked when the configuration is read, as far as it is written out.

    `check` gets the constant and raises TypeError or ValueError with the words for it. If it is `required`, the
    argument has to be a constant text. Otherwise `prepare` is called where an event gives it.
    """

    name: str
    check: Callable[[Any], object]
    required: bool = False
    prepare: Callable[[], object] | None = None


class Function(NamedTuple):
    """A function of the language, and how many arguments it takes; `max_args` is None if there is no bound.

    `checked` are arguments by their index. `check_all` gets all the arguments, each a constant or NOT_CONSTANT, and
    raises as they do: for arguments that depend on each other, as a zone on its format. A `lazy` function gets its arguments unevaluated. In a loop a
    call pays `steps` beside those of every call, and `steps_per_char` of each constant text.
    """

    call: Callable[..., object]
    min_args: int
    max_args: int | None
    checked: dict[int, Checked] = {}  # noqa: RUF012 - nobody changes it
    check_all: Callable[[list[Any]], object] | None = None
    lazy: bool = False
    steps: int = 0
    steps_per_char: int = 0

    def cost(self, arguments: list[Any]) -> int:
        """Return the steps of a call that a loop pays for, beside CALL and the size of the values."""
        return self.steps + self.steps_per_char * sum(len(value) for value in arguments if type(value) is str)

    def check(self, name: str, index: int, value: object) -> None:
        """Check an argument of the function `name`, a constant or NOT_CONSTANT. Raises TypeError or ValueError."""
        checked = self.checked.get(index)
        if checked is None:
            return
        if checked.required and type(value) is not str:
            raise TypeError(f"the {checked.name} of {name}() is a constant text")
        if value is not NOT_CONSTANT:
            checked.check(value)
        elif checked.prepare is not None:
            checked.prepare()
