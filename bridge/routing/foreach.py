"""`foreach`: the function of a route builds one message for each element of a list, all of them or none."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any, Final

from bridge.config.wording import describe
from bridge.errors import BadEvent
from bridge.model.message import FREE_MESSAGE_BYTES, MAX_ROUTE_BYTES, Message, check_growth
from bridge.routing.expressions.loops import begin
from bridge.routing.expressions.purse import Place
from bridge.routing.expressions.syntax import PLACE, place_missing

#: The place of the loop: no expression stands there, so no failure names the loop; `element_of` names its element.
_NOWHERE: Final[Place] = (0, 0, 0, 0, 0)
#: The local name of the messages, in the function of a route.
_MESSAGES: Final = "_messages"
#: `Foreach.statements` puts the list, and the call that builds a message, into the places of 0.
_LOOP: Final = f"""
{_MESSAGES} = _ElementMessages(_event.size)
for index, item in _enumerate(0):
    {_MESSAGES}.add(0)
return {_MESSAGES}.messages
"""


class ElementMessages:
    """The messages that a route has made so far of the elements of one event, which has `event_size` bytes."""

    __slots__ = ("_event_size", "_size", "messages")

    def __init__(self, event_size: int) -> None:
        self._event_size = event_size
        self._size = 0
        self.messages: list[Message] = []

    def add(self, message: Message) -> None:
        """Add the message of the next element.

        Raises:
            BadEvent: it is too large, or all together are.
        """
        size = len(message.body)
        if size > FREE_MESSAGE_BYTES:
            check_growth(size, self._event_size)
        self._size += size
        if self._size > MAX_ROUTE_BYTES:
            so_far = f"the messages so far have {self._size} bytes together"
            raise BadEvent("too-large", f"{so_far}; a route makes {MAX_ROUTE_BYTES} at most")
        self.messages.append(message)


@dataclass(frozen=True, slots=True)
class Foreach:
    """The loop of a route over `items`, at most `limit`; each turn costs so many of the purse's steps."""

    items: ast.expr
    limit: int
    weight: int

    def statements(self, call: ast.expr) -> list[ast.stmt]:
        """Return the statements that call `call` for each element, and return the messages."""
        module = ast.parse(f"def route():{_LOOP.replace(chr(10), chr(10) + '    ')}")
        function = module.body[0]
        assert isinstance(function, ast.FunctionDef)  # noqa: S101 - as written above
        place = {name: getattr(call, name) for name in PLACE}
        for node in ast.walk(function):
            vars(node).update(place)
        loop: Any = function.body[1]
        loop.iter.args = [self._begun()]
        loop.body[0].value.args = [call]
        return function.body

    @property
    def scope(self) -> dict[str, object]:
        """The globals of the statements."""
        return {"_ElementMessages": ElementMessages, "_enumerate": enumerate, "_elements": self._checked}

    def _begun(self) -> ast.expr:
        checked = ast.Call(ast.Name("_elements", ast.Load()), [self.items], [])
        # A failure of the new nodes is one of the list.
        begun = ast.copy_location(begin(checked, self.weight, _NOWHERE), self.items)
        place_missing(begun)
        return begun

    def _checked(self, items: object) -> list[Any]:
        """Return the list. Raises TypeError for another value, BadEvent for a list that is too long."""
        if type(items) is not list:
            use = {dict: " (use items(x))", type(None): " (default(x, []) makes it an empty one)"}
            raise TypeError(f"takes a list, not {describe(items)}{use.get(type(items), '')}")
        if len(items) > self.limit:
            raise BadEvent("too-large", f"foreach: {len(items)} elements, foreach_limit is {self.limit}", "foreach")
        return items


def element_of(error: BaseException, filename: str) -> str:
    """Return the words for the element at which the function of a `foreach` route raised `error`; "" if it was at none.

    `filename` is that of the function.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != filename:
        trace = trace.tb_next
    names = {} if trace is None else trace.tb_frame.f_locals
    # Before the loop there is no index; and a route without foreach may have a capture of this name.
    is_in_loop = _MESSAGES in names and "index" in names
    return f"element {names['index']} of foreach: " if is_in_loop else ""
