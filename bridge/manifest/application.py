"""Imports a Dramatiq application, and writes down its actors. Dramatiq is the application's, and no dependency of ours."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from bridge.config.manifest import FORMAT, Actor, Kind, Manifest, Parameter
from bridge.errors import BridgeError
from bridge.manifest.annotations import allowed

_KINDS: Final[dict[Any, Kind]] = {
    inspect.Parameter.POSITIONAL_ONLY: "positional-only",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "positional-or-keyword",
    inspect.Parameter.VAR_POSITIONAL: "var-positional",
    inspect.Parameter.KEYWORD_ONLY: "keyword-only",
    inspect.Parameter.VAR_KEYWORD: "var-keyword",
}


class ApplicationError(BridgeError):
    """An application that can't be imported, or that has no actors."""


def import_application(modules: Sequence[str]) -> Manifest:
    """Import the modules as Dramatiq's own command line does, and return the actors of their broker.

    A module is `package.module`, or `package.module:broker` where the broker is not Dramatiq's global one.

    Raises:
        ApplicationError: a module can't be imported, or there is no actor.
    """
    try:
        dramatiq = importlib.import_module("dramatiq")
    except ImportError:
        raise ApplicationError(
            "dramatiq is not installed here: run this command in the application's own environment"
        ) from None
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    broker: Any = None
    for name in modules:
        module, _, attribute = name.partition(":")
        imported = _imported(module)
        if attribute:
            broker = _attribute(imported, attribute, name)
    broker = broker if broker is not None else dramatiq.get_broker()
    actors = {name: _actor(actor) for name, actor in sorted(broker.actors.items())}
    if not actors:
        raise ApplicationError(f"{', '.join(modules)}: the broker has no actors after the import")
    return Manifest(FORMAT, str(dramatiq.__version__), tuple(modules), actors)


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise ApplicationError(f"can't import {module}: {type(error).__name__}: {error}") from error


def _attribute(module: Any, path: str, name: str) -> Any:
    value = module
    for step in path.split("."):
        value = getattr(value, step, None)
    if not hasattr(value, "actors"):
        raise ApplicationError(f"{name} is no broker")
    return value


def _actor(actor: Any) -> Actor:
    # A class-based actor is called through `perform`.
    function = getattr(actor.fn, "perform", actor.fn)
    options = {
        name: _as_json(value) for name, value in actor.options.items() if value is None or _as_json(value) is not None
    }
    description = (inspect.getdoc(function) or "").partition("\n")[0]
    return Actor(actor.queue_name, _parameters(function), options, description)


def _parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return (Parameter("args", "var-positional"), Parameter("kwargs", "var-keyword"))
    try:
        hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    except Exception:  # noqa: BLE001 - a name that is only there for type checkers
        hints = {}
    return tuple(_parameter(each, hints.get(each.name)) for each in signature.parameters.values())


def _parameter(parameter: inspect.Parameter, hint: Any) -> Parameter:
    kind = _KINDS[parameter.kind]
    is_open = kind in {"var-positional", "var-keyword"}
    types, values = (None, None) if hint is None else allowed(hint)
    has_default = parameter.default is not parameter.empty
    default = _as_json(parameter.default) if has_default else None
    required = not has_default and not is_open
    return Parameter(parameter.name, kind, _spelled(parameter.annotation), types, values, required, default)


def _spelled(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _as_json(value: object) -> Any:
    """Return a value as JSON gives it back, None where JSON can't hold it."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return None
