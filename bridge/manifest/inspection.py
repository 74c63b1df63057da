"""Runs in a process of its own: imports an application, and writes down its actors.

Dramatiq is the application's, and no dependency of the bridge.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from bridge.config.manifest import FORMAT, Actor, Manifest
from bridge.manifest.application import Answer, ApplicationError
from bridge.manifest.signatures import described_actor


def main() -> NoReturn:
    """Write the Answer for the modules in `sys.argv` to the file that it names first, and end the process."""
    file, *modules = sys.argv[1:]
    try:
        # The program's own name, for an application that looks at its arguments.
        sys.argv = ["dramatiq-bridge"]
        answer = Answer(_manifest(modules))
        body = msgspec.json.encode(answer)
    except ApplicationError as error:
        body = msgspec.json.encode(Answer(error=str(error)))
    except BaseException as error:  # noqa: BLE001 - an object of the application may raise anything when it is looked at
        text = f"can't describe the actors of {', '.join(modules)}: {type(error).__name__}: {error}"
        body = msgspec.json.encode(Answer(error=text.encode(errors="backslashreplace").decode()))
    # Complete or not there: the process may be killed.
    draft = Path(f"{file}.draft")
    draft.write_bytes(body)
    draft.rename(file)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that the application has started may never end.
    os._exit(0)


def _manifest(modules: Sequence[str]) -> Manifest:
    sys.path.insert(0, os.fspath(Path.cwd()))
    try:
        dramatiq = importlib.import_module("dramatiq")
    except ModuleNotFoundError as error:
        if error.name != "dramatiq":
            raise ApplicationError(f"can't import dramatiq: {error}") from None
        text = "dramatiq is not installed here: run this command in the application's own environment"
        raise ApplicationError(text) from None
    brokers: list[Any] = []
    for name in modules:
        module, _, attribute = name.partition(":")
        imported = _imported(module)
        found = _broker(imported, attribute, name) if attribute else None
        broker = found if found is not None else dramatiq.broker.global_broker
        if broker is None:
            raise ApplicationError(f"{name}: no broker is set after the import; name it, as in {module}:broker")
        if not getattr(broker, "actors", None):
            others = [
                f"{module}:{each}" for each, value in vars(imported).items() if _is_broker(value) and value.actors
            ]
            hint = f"; others are in {', '.join(others)}" if others else ""
            raise ApplicationError(f"{name}: the broker has no actors after the import{hint}")
        if broker not in brokers:
            brokers.append(broker)
    options = sorted(set().union(*(broker.actor_options for broker in brokers)))
    return Manifest(FORMAT, str(dramatiq.__version__), tuple(modules), _actors(brokers), tuple(options))


def _actors(brokers: Sequence[Any]) -> dict[str, Actor]:
    actors: dict[str, Actor] = {}
    for broker in brokers:
        for name, actor in sorted(broker.actors.items()):
            if name in actors:
                raise ApplicationError(f"two brokers have an actor {name}: write one manifest for each broker")
            actors[name] = described_actor(actor)
    return actors


def _imported(module: str) -> Any:
    if "/" in module or module.endswith(".py"):
        name = module.removeprefix("./").removesuffix(".py").strip("/").replace("/", ".")
        raise ApplicationError(f"can't import {module}: write it as Python imports it: {name}")
    if not all(map(str.isidentifier, module.split("."))):
        raise ApplicationError(f"{module!r} is no module's name, which is written as in my_app.tasks")
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not error.name or not f"{module}.".startswith(f"{error.name}."):
            raise ApplicationError(_why(module, error)) from None
        if error.name == "bridge" or error.name.startswith("bridge."):
            text = f"can't import {module}: this program's own package is named bridge too"
            raise ApplicationError(text) from None
        where = f"it is looked for in {Path.cwd()}, then among the installed packages"
        raise ApplicationError(f"can't import {module}: there is no module {error.name}; {where}") from None
    except SystemExit as error:
        raise ApplicationError(_why(module, error)) from None
    except Exception as error:  # noqa: BLE001 - whatever the application raises
        raise ApplicationError(_why(module, error)) from None


def _why(module: str, error: BaseException) -> str:
    """Return the error with the innermost place of the application: where it was raised is often a library."""
    places = list(_places(error))
    place = f"{places[-1]}: " if places else ""
    return f"can't import {module}: {place}{type(error).__name__}: {error}"


def _places(error: BaseException) -> Iterator[str]:
    here = f"{Path.cwd()}{os.sep}"
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) and error.filename is not None:
        yield f"{error.filename.removeprefix(here)}:{error.lineno}"
        return
    for frame in frames:
        if frame.filename.startswith(here) and "site-packages" not in frame.filename:
            yield f"{frame.filename.removeprefix(here)}:{frame.lineno}"


def _is_broker(value: object) -> bool:
    return isinstance(getattr(value, "actors", None), dict) and hasattr(value, "actor_options")


def _broker(module: Any, path: str, name: str) -> Any:
    """Return the broker that `path` names in the module; None if it is a function, which has set the global one."""
    value = module
    for step in path.split("."):
        try:
            value = getattr(value, step)
        except AttributeError:
            raise ApplicationError(f"{name}: the module {module.__name__} has no {path}") from None
    if _is_broker(value):
        return value
    if not callable(value):
        raise ApplicationError(f"{name} is no broker, and no function that sets one")
    try:
        value()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
        raise ApplicationError(_why(name, error)) from None
    return None
