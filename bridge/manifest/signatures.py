"""The parameters of an actor, as a worker calls it."""

from __future__ import annotations

import importlib
import inspect
import json
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, SimpleNamespace
from typing import Any, Final

import msgspec

from bridge.config.manifest import ANY, Actor, Parameter, ParameterKind
from bridge.manifest.annotations import shape_of

_KINDS: Final[dict[Any, ParameterKind]] = {
    inspect.Parameter.POSITIONAL_ONLY: "positional-only",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "positional-or-keyword",
    inspect.Parameter.VAR_POSITIONAL: "var-positional",
    inspect.Parameter.KEYWORD_ONLY: "keyword-only",
    inspect.Parameter.VAR_KEYWORD: "var-keyword",
}
_OPEN: Final = (Parameter("args", "var-positional"), Parameter("kwargs", "var-keyword"))


def described_actor(actor: Any) -> Actor:
    """Return the entry of an actor of Dramatiq's in a manifest."""
    function = _called(actor.fn)
    own_call = type(actor).__call__ is not importlib.import_module("dramatiq").Actor.__call__
    parameters, certain = _parameters(function)
    options = {
        name: _as_json(value) for name, value in actor.options.items() if value is None or _as_json(value) is not None
    }
    description = (inspect.getdoc(function) or "").partition("\n")[0]
    return Actor(actor.queue_name, parameters, options, description, certain=certain and not own_call)


def _called(function: Any) -> Callable[..., Any]:
    """Return the application's own function: Dramatiq wraps that of an async actor, and calls `perform` of a class.

    Of an object its methods alone are read: that of a class looks for other attributes for ever (Dramatiq 1.17, observed).
    """
    if not isinstance(function, (FunctionType, MethodType, BuiltinFunctionType, partial)):
        generic = importlib.import_module("dramatiq").GenericActor
        inherited = inspect.getattr_static(type(function), "__call__", None) is vars(generic)["__call__"]
        function = function.perform if inherited else function.__call__
    while _module(function) == "dramatiq.asyncio" and hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return typing.cast("Callable[..., Any]", function)


def _module(function: object) -> str:
    """Return the module in which the code of a function stands: a wrapper has the names of the wrapped one."""
    return str(getattr(function, "__globals__", {}).get("__name__", ""))


def _parameters(function: Callable[..., Any]) -> tuple[tuple[Parameter, ...], bool]:
    """Return the parameters, and whether a worker's call is certain to bind to them.

    It is not where a decorator takes any arguments: whether it passes them on as they are, nobody can see.
    """
    try:
        outer = inspect.signature(function, follow_wrapped=False)
        inner = inspect.signature(function)
    except (TypeError, ValueError, NameError):
        return _OPEN, True
    passes_on = hasattr(function, "__wrapped__") and _takes_anything(function)
    # validate_call turns "5" into 5: the annotations exclude nothing.
    converts = _module(function).partition(".")[0] == "pydantic"
    signature = inner if passes_on else outer
    hints = {} if converts else _hints(function if not passes_on else inspect.unwrap(function), signature)
    parameters = tuple(_parameter(each, hints.get(each.name)) for each in signature.parameters.values())
    return parameters, converts or not passes_on


def _takes_anything(function: Any) -> bool:
    """Whether a function is written `(*args, **kwargs)`, whichever signature it shows."""
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    both = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
    return not code.co_argcount and not code.co_kwonlyargcount and code.co_flags & both == both


def _hints(function: Any, signature: inspect.Signature) -> Mapping[str, Any]:
    """Return the annotations, each resolved by itself: one may be there for type checkers alone."""
    names = getattr(inspect.unwrap(function), "__globals__", {})
    hints: dict[str, Any] = {}
    for each in signature.parameters.values():
        if each.annotation is not each.empty:
            holder = SimpleNamespace(__annotations__={each.name: each.annotation})
            # Whatever evaluating an annotation raises: most often a name that is not there at run time.
            with suppress(Exception):
                hints.update(typing.get_type_hints(holder, globalns=names, include_extras=True))
    return hints


def _parameter(parameter: inspect.Parameter, hint: Any) -> Parameter:
    kind = _KINDS[parameter.kind]
    is_open = kind in {"var-positional", "var-keyword"}
    shape = ANY if hint is None else shape_of(hint)
    has_default = parameter.default is not parameter.empty
    default = _as_json(parameter.default) if has_default else None
    required = not has_default and not is_open
    return Parameter(parameter.name, kind, _spelled(parameter.annotation), shape, required, default)


def _spelled(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _as_json(value: object) -> Any:
    """Return a value as JSON gives it back, None where JSON can't hold it."""
    try:
        decoded = json.loads(json.dumps(value, allow_nan=False))
        msgspec.json.encode(decoded)  # refuses half of a surrogate pair
    except (TypeError, ValueError, RecursionError):
        return None
    return decoded
