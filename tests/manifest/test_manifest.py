"""`actors` writes down every shape of an actor, and `check` finds each call that does not bind, at its place."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import yaml

from bridge import cli, config
from bridge.config.manifest import Actor, Manifest, ManifestError, manifest_json, read_manifest
from bridge.dry_run.runs import DryRun
from bridge.errors import ConfigError, Diagnostic
from bridge.manifest.application import ApplicationError, import_application
from bridge.manifest.binding import Binding
from bridge.manifest.checks import Calls, check_calls
from bridge.model.event import Event
from bridge.routing.compiler import check_routes
from tests.support.children import REPOSITORY

EXAMPLES: Final = (
    *("iot-fleet", "legacy-rabbitmq", "audit-stream", "rabbitmq-stream", "redis-pubsub", "demo"),
    *("shop-orders", "smart-home", "publishers"),
)
_SOURCES: Final = {"s": {"type": "redis-pubsub", "url": "redis://localhost", "channels": ["c"]}}


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    """That of tests/app/shapes.py, as it comes out of a file."""
    body = manifest_json(import_application(["tests.app.shapes:broker"]))
    return msgspec.json.decode(body, type=Manifest)


@pytest.fixture(scope="module")
def actors(manifest: Manifest) -> Mapping[str, Actor]:
    """Its actors."""
    return manifest.actors


def _types(actor: Actor) -> dict[str, Any]:
    return {
        each.name: each.shape.types if each.shape.values is None else each.shape.values for each in actor.parameters
    }


def test_every_shape_of_a_function(actors: Mapping[str, Actor]) -> None:
    """Kinds, types of JSON, choices, defaults; an annotation that can't be read says nothing."""
    assert _types(actors["plain"]) == {"a": None, "b": None}
    assert _types(actors["typed"]) == {
        "text": ("string",),
        "number": ("integer", "boolean"),
        "fraction": ("integer", "number", "boolean"),
        "flag": ("boolean",),
        "many": ("array",),
        "mapping": ("object",),
        "user": ("integer", "boolean"),
        "reading": ("object",),
    }
    assert _types(actors["choices"]) == {
        "severity": ("low", "high"),
        "level": (1, 2, None),
        "size": ("integer", "boolean", "string", "null"),
        "note": ("string",),
        "items": ("array", "string"),
        "anything": None,
    }
    assert _types(actors["unresolvable"]) == {"a": None, "b": ("integer", "boolean")}
    assert _types(actors["converting"]) == {"a": None}
    assert [each.name for each in actors["asynchronous"].parameters] == ["a"]
    assert [each.name for each in actors["decorated"].parameters] == ["a"]
    class_based = actors["ClassBased"]
    assert (class_based.queue, class_based.options["max_retries"]) == ("classes", 2)
    assert [each.name for each in class_based.parameters] == ["a"]
    assert [each.required for each in actors["choices"].parameters] == [True, *[False] * 5]
    assert actors["choices"].parameters[2].default == 3
    assert [each.name for each in actors["without_keywords"].parameters] == ["args"]
    uncertain = {"decorated", "injected", "with_actor_class", "pretending"}
    assert {name for name, actor in actors.items() if not actor.certain} == uncertain


def test_the_manifest_has_the_options_of_the_broker(manifest: Manifest) -> None:
    """Those of a middleware of the application's own are none that Dramatiq does not know."""
    assert {"max_retries", "pipe_target"} <= set(manifest.options)


@pytest.mark.parametrize(
    ("actor", "count", "keywords", "misfit"),
    [
        ("plain", 1, (), ""),
        ("plain", 2, (), ""),
        ("plain", 1, ("b",), ""),
        ("plain", 0, ("a", "b"), ""),
        ("plain", 0, (), "the actor plain also needs the argument 'a'"),
        ("plain", 3, (), "the actor plain takes 2 positional arguments, not 3"),
        ("plain", 1, ("a",), "'a' is given by args already"),
        ("plain", 1, ("c",), "the actor plain has no parameter 'c'"),
        ("positional_only", 1, ("b",), ""),
        ("positional_only", 0, ("a", "b"), "the actor positional_only takes 'a' by its position only"),
        ("keyword_only", 0, ("a",), ""),
        ("keyword_only", 1, (), "the actor keyword_only takes 0 positional arguments, not 1"),
        ("keyword_only", 0, ("b",), "the actor keyword_only also needs the argument 'a'"),
        ("open_ended", 5, ("x", "y"), ""),
        ("open_ended", 0, ("a", "x"), ""),
        ("open_ended", 1, ("a",), "'a' is given by args already"),
        ("without_keywords", 1, (), ""),
        ("without_keywords", 0, ("a",), "the actor without_keywords has no parameter 'a'"),
        ("OwnCall", 1, (), ""),
        ("OwnCall", 2, (), "the actor OwnCall takes 1 positional argument, not 2"),
        ("ClassBased", 1, (), ""),
        ("ClassBased", 0, (), "the actor ClassBased also needs the argument 'a'"),
    ],
)
def test_a_call_binds_as_python_binds_it(
    actors: Mapping[str, Actor], actor: str, count: int, keywords: tuple[str, ...], misfit: str
) -> None:
    """Nothing more is refused than Python would refuse, and nothing less."""
    misfits = [each.message for each in Binding(actor, actors[actor]).misfits(count, keywords)]
    assert (misfits[0] if misfits else "") == misfit
    function = importlib.import_module("tests.app.shapes").broker.actors[actor].fn
    arguments, named = range(count), dict.fromkeys(keywords, 1)
    if misfit:
        with pytest.raises(TypeError):
            function(*arguments, **named)
    else:
        function(*arguments, **named)


def _check(manifest: Manifest, tmp_path: Path, route: dict[str, Any]) -> list[str]:
    path = tmp_path / "bridge.yaml"
    path.write_text(yaml.safe_dump({"sources": _SOURCES, "routes": [{"from": "s", **route}]}))
    loaded = config.load(path)
    return [_spelled(each) for each in check_calls(loaded.with_manifest(manifest), manifest.actors).mistakes]


def _spelled(diagnostic: Diagnostic) -> str:
    return f"{'.'.join(map(str, diagnostic.path[2:]))}: {diagnostic}"


@pytest.mark.parametrize(
    ("route", "says"),
    [
        ({"actor": "plain", "args": [1]}, ""),
        ({"actor": "plian", "args": [1]}, "actor: the application has no actor 'plian'; did you mean 'plain'?"),
        ({"actor": "ClassBased", "args": [1]}, ""),
        (
            {"actor": "ClassBased", "args": [1], "queue": "default"},
            "queue: the actor ClassBased is on the queue classes, not default; leave the queue out to take the actor's",
        ),
        ({"actor": "plain", "args": [1, 2, 3]}, "args: the actor plain takes 2 positional arguments, not 3"),
        (
            {"actor": "plain"},
            "args: the actor plain also needs the argument 'a'; write it into args; its parameters are (a, b)",
        ),
        (
            {"actor": "keyword_only", "kwargs": {"b": 1}},
            "kwargs: the actor keyword_only also needs the argument 'a'; write it into kwargs; its parameters are (*, a, b)",
        ),
        (
            {"actor": "positional_only", "kwargs": {"a": 1, "b": 1}},
            "kwargs.a: the actor positional_only takes 'a' by its position only; write it into args",
        ),
        (
            {"actor": "no_arguments", "args": [1, 2], "kwargs": "$payload"},
            "args: the actor no_arguments takes 0 positional",
        ),
        ({"actor": "plain", "args": "$payload", "kwargs": {"c": 1}}, "kwargs.c: the actor plain has no parameter 'c'"),
        ({"actor": "implicit", "kwargs": {"a": None, "flag": True}}, ""),
        ({"actor": "implicit", "kwargs": {"a": "x"}}, "kwargs.a: a is int, not 'x'"),
        ({"actor": "converting", "args": ["5"]}, ""),
        ({"actor": "injected", "args": [7]}, ""),
        ({"actor": "injected", "args": [7, 8, 9]}, ""),
        ({"actor": "with_actor_class", "args": ["tenant", 1]}, ""),
        ({"actor": "plain", "args": [1], "kwargs": {"bb": 1}}, "kwargs.bb: the actor plain has no parameter 'bb'"),
        ({"actor": "plain", "args": "$payload"}, ""),
        ({"actor": "plain", "kwargs": "$payload"}, ""),
        ({"actor": "choices", "args": ["hgh"]}, "args.0: severity is one of 'low' or 'high', not 'hgh'"),
        ({"actor": "choices", "args": ["$payload.x"]}, ""),
        ({"actor": "choices", "args": ["low", 3]}, "args.1: level is one of 1, 2 or null, not 3"),
        (
            {"actor": "choices", "args": ["low"], "kwargs": {"size": 1.5}},
            "kwargs.size: size is int | str | None, not 1.5",
        ),
        ({"actor": "choices", "args": ["low"], "kwargs": {"note": 5}}, "kwargs.note: note is Annotated"),
        ({"actor": "nested", "args": [[1, "$payload.n", "$$5"]]}, "args.0: many[2] in list[int] is a whole number or"),
        ({"actor": "nested", "args": [[1, "$payload.n"]]}, ""),
        ({"actor": "nested", "args": ["$payload.many"]}, ""),
        ({"actor": "nested", "args": [5]}, "args.0: many is list[int], not 5"),
        (
            {"actor": "nested", "args": [[]], "kwargs": {"levels": {"a": ["low", "hgh"]}}},
            "kwargs.levels: levels['a'][1] is one of 'low' or 'high', not 'hgh'",
        ),
        ({"actor": "nested", "args": [[]], "kwargs": {"levels": {"a": ["low"], "b": []}}}, ""),
        ({"actor": "nested", "args": [[]], "kwargs": {"levels": None}}, ""),
        ({"actor": "nested", "args": [[]], "kwargs": {"either": ["a", 1]}}, ""),
        ({"actor": "nested", "args": [[]], "kwargs": {"names": {"a": 1}}}, ""),
        ({"actor": "nested", "args": [[]], "kwargs": {"names": 1}}, "kwargs.names: names is Iterable[str], not 1"),
        ({"actor": "plain", "args": [1], "options": {"on_failure": "on_failure"}}, ""),
        (
            {"actor": "plain", "args": [1], "options": {"on_failure": "on_failur"}},
            "options.on_failure: the application has no actor 'on_failur'; did you mean 'on_failure'?",
        ),
        (
            {"actor": "plain", "args": [1], "options": {"on_success": "no_callback"}},
            "options.on_success: the actor no_callback takes 1 positional argument, not 0 and 2 that Dramatiq gives it, the message and its result or error",
        ),
        (
            {
                "actor": "plain",
                "args": [1],
                "options": {"pipe_target": {"actor_name": "ClassBased", "queue_name": "classes"}},
            },
            "",
        ),
        ({"actor": "plain", "args": [1], "options": {"pipe_target": {"actor_name": "ClassBased"}}}, ""),
        (
            {"actor": "plain", "args": [1], "options": {"pipe_target": {"actor_name": "plain", "queue_name": "q"}}},
            "options.pipe_target.queue_name: the actor plain is on the queue default, not q",
        ),
        ({"actor": "ignoring", "options": {"pipe_target": {"actor_name": "no_arguments"}}}, ""),
        (
            {"actor": "plain", "args": [1], "options": {"pipe_target": {"actor_name": "no_arguments"}}},
            "options.pipe_target.args: the actor no_arguments takes 0 positional arguments, not 0 and 1 from the message",
        ),
        (
            {
                "actor": "plain",
                "args": [1],
                "options": {"pipe_target": {"actor_name": "no_arguments", "options": {"pipe_ignore": "$payload.i"}}},
            },
            "",
        ),
        (
            {
                "actor": "plain",
                "args": [1],
                "options": {
                    "pipe_target": {
                        "actor_name": "ClassBased",
                        "queue_name": "classes",
                        "options": {"pipe_ignore": True},
                    }
                },
            },
            "options.pipe_target.args: the actor ClassBased also needs the argument 'a'",
        ),
        (
            {
                "actor": "plain",
                "args": [1],
                "options": {
                    "pipe_target": {
                        "actor_name": "plain",
                        "options": {"pipe_target": {"actor_name": "nobody"}},
                    }
                },
            },
            "options.pipe_target.options.pipe_target.actor_name: the application has no actor 'nobody'",
        ),
    ],
    ids=str,
)
def test_check_finds_a_call_that_does_not_bind(
    manifest: Manifest, tmp_path: Path, route: dict[str, Any], says: str
) -> None:
    """Each at its place; an expression may give anything, so it is left alone."""
    found = _check(manifest, tmp_path, route)
    assert len(found) == bool(says), found
    assert not says or found[0].startswith(says), found


def test_a_route_without_a_queue_takes_the_actors(actors: Mapping[str, Actor], tmp_path: Path) -> None:
    """By `manifest:` in the file, in every command."""
    (tmp_path / "actors.json").write_bytes(manifest_json(import_application(["tests.app.shapes:broker"])))
    path = tmp_path / "bridge.yaml"
    routes = [{"from": "s", "actor": "ClassBased", "args": [1]}, {"from": "s", "actor": "plain", "args": [1]}]
    path.write_text(yaml.safe_dump({"sources": _SOURCES, "manifest": "actors.json", "routes": routes}))
    loaded = config.load(path)
    assert [route.queue for route in loaded.routes] == ["classes", "default"]
    assert loaded.actors == actors


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "actors.json cannot be read: No such file or directory; `dramatiq-bridge actors` writes it"),
        ("[]", "actors.json is no manifest: Expected `object`, got `array`"),
        ("\udc80", "actors.json is no manifest: "),
        ("[" * 200_000, "actors.json is no manifest: "),
        ('{"manifest": 2, "actors": []}', "has the format 2, this version reads 1"),
        (
            '{"manifest": 2, "dramatiq": "", "modules": [], "actors": {}}',
            "has the format 2, this version reads 1; `dramatiq-bridge actors` writes it",
        ),
    ],
)
def test_a_manifest_that_cannot_be_read(tmp_path: Path, text: str | None, says: str) -> None:
    """It is a mistake of the file, with its place."""
    path = tmp_path / "bridge.yaml"
    if text is not None:
        (tmp_path / "actors.json").write_text(text, errors="surrogateescape")
    path.write_text(yaml.safe_dump({"manifest": "actors.json", "sources": _SOURCES}, sort_keys=False))
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{path}:1:11: manifest: ")


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        (
            ["tests.app.nothing"],
            "can't import tests.app.nothing: there is no module tests.app.nothing; it is looked for in /",
        ),
        (["tests.app.shapes:borker"], "tests.app.shapes:borker: the module tests.app.shapes has no borker"),
        (["tests.app.shapes:Reading.__total__"], "is no broker, and no function that sets one"),
        (
            ["tests.app.calls"],
            "tests.app.calls: no broker is set after the import; name it, as in tests.app.calls:broker",
        ),
        (["."], "'.' is no module's name, which is written as in my_app.tasks"),
        ([""], "'' is no module's name"),
        (["tests/app/calls.py"], "can't import tests/app/calls.py: write it as Python imports it: tests.app.calls"),
    ],
)
def test_an_application_that_cannot_be_imported(modules: list[str], says: str) -> None:
    """One line says why."""
    with pytest.raises(ApplicationError, match=re.escape(says)):
        import_application(modules)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import sys; sys.exit(0)", "can't import app: app.py:1: SystemExit: 0"),
        ("import os; os._exit(3)", "can't import app: it ended the process with exit code 3"),
        ("import os\nos.environ['NOT_SET_HERE']", "can't import app: app.py:2: KeyError: 'NOT_SET_HERE'"),
        ("import json\njson.loads('x')", "can't import app: app.py:2: JSONDecodeError"),
        ("a =", "can't import app: app.py:1: SyntaxError"),
        (
            (
                "import threading, dramatiq\nfrom dramatiq.brokers.stub import StubBroker\nbroker = StubBroker()\n"
                "dramatiq.set_broker(broker)\nbroker.actors[5] = 1\n"
                "threading.Thread(target=threading.Event().wait).start()"
            ),
            "can't describe the actors of app: AttributeError: 'int' object has no attribute 'fn'",
        ),
        ("import not_there", "can't import app: app.py:1: ModuleNotFoundError: No module named 'not_there'"),
    ],
)
def test_an_application_that_fails(program: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says where: in the application, though a library may have raised the error."""
    (tmp_path / "app.py").write_text(program)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ApplicationError, match=re.escape(says)):
        import_application(["app"])


def test_what_an_application_does_stays_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It prints, changes its directory, waits for input, and starts a thread without an end: the manifest is written all the same."""
    (tmp_path / "app.py").write_text(
        "import atexit, os, threading, dramatiq\nfrom dramatiq.brokers.stub import StubBroker\n"
        "def setup():\n    dramatiq.set_broker(StubBroker())\n    dramatiq.actor(hello)\n"
        "def hello(name: str): ...\nprint('loading')\natexit.register(print, 'bye')\nos.chdir('/')\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "try:\n    input()\nexcept EOFError:\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    assert cli.main(["actors", "app:setup", "--output", "actors.json"]) == 0
    assert read_manifest(tmp_path / "actors.json").actors["hello"].queue == "default"
    out, err = capfd.readouterr()
    assert (out, err) == ("", "loading\n")
    assert cli.main(["actors", "app:setup", "--output", "nowhere/actors.json"]) == 1
    assert "--output: nowhere/actors.json cannot be written: No such file or directory" in capfd.readouterr().err


def test_several_brokers_are_one_manifest() -> None:
    """Unless two of them have an actor of the same name: which one a message reaches would depend on the worker."""
    known = import_application(["tests.app.shapes:broker", "tests.app.redis_pubsub:broker"])
    assert {"plain", *import_application(["tests.app.redis_pubsub:broker"]).actors} <= known.actors.keys()


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_fit_their_applications(example: str) -> None:
    """`check --actors` finds no mistake in an example; its application is a real one."""
    known = import_application([f"tests.app.{example.replace('-', '_')}:broker"])
    loaded = config.load(REPOSITORY / f"config/examples/{example}.yaml", environ={})
    assert check_calls(loaded.with_manifest(known), known.actors) == Calls([], [])


def test_the_command_runs_in_the_applications_own_folder(tmp_path: Path) -> None:
    """As `dramatiq my_tasks` does: the module is found where the command is called."""
    (tmp_path / "my_tasks.py").write_text(
        "import dramatiq\nfrom dramatiq.brokers.stub import StubBroker\ndramatiq.set_broker(StubBroker())\n"
        "@dramatiq.actor(queue_name='q')\ndef hello(name: str): ...\n"
    )
    command = [sys.executable, "-m", "bridge", "actors", "my_tasks"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["actors"]["hello"]["queue"] == "q"
    (tmp_path / "actors.json").write_text(done.stdout)
    assert read_manifest(tmp_path / "actors.json").modules == ("my_tasks",)
    with pytest.raises(ManifestError):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("route", "payload", "letter"),
    [
        ({"actor": "plain", "args": "$payload"}, [1, 2], None),
        ({"actor": "plain", "args": "$payload"}, [1, 2, 3], "the actor plain takes 2 positional arguments, not 3"),
        ({"actor": "plain", "args": "$payload"}, [], "the actor plain also needs the argument 'a'"),
        ({"actor": "plain", "kwargs": "$payload"}, {"a": 1, "b": 2}, None),
        ({"actor": "plain", "kwargs": "$payload"}, {"a": 1, "c": 2}, "the actor plain has no parameter 'c'"),
        ({"actor": "plain", "args": ["$payload"]}, [1, 2, 3], None),
    ],
)
@pytest.mark.parametrize("enforced", [True, False])
def test_enforce_manifest_keeps_calls_that_do_not_bind(
    tmp_path: Path, route: dict[str, Any], payload: Any, letter: str | None, enforced: bool
) -> None:
    """They become dead letters, which a person can mend; without it the worker would retry them in vain."""
    (tmp_path / "actors.json").write_bytes(manifest_json(import_application(["tests.app.shapes:broker"])))
    path = tmp_path / "bridge.yaml"
    whole = {"manifest": "actors.json", "enforce_manifest": enforced, "sources": _SOURCES}
    path.write_text(yaml.safe_dump({**whole, "routes": [{"from": "s", **route}]}))
    event = Event("s", "c", json.dumps(payload).encode(), 0)
    result = DryRun(config.load(path, check=check_routes)).run(event, 0)
    if letter is None or not enforced:
        assert [one.verdict for one in result.routes] == ["message"]
    else:
        ((found, name),) = result.dead_letters
        assert (found.reason, name) == ("arguments", "plain")
        assert found.detail.startswith(letter)


def test_a_manifest_in_the_file_is_checked_by_every_command(tmp_path: Path) -> None:
    """`run` refuses an unknown actor as `check` does, before anything is connected."""
    (tmp_path / "actors.json").write_bytes(manifest_json(import_application(["tests.app.shapes:broker"])))
    path = tmp_path / "bridge.yaml"
    routes = [{"from": "s", "actor": "plian", "args": [1]}]
    path.write_text(yaml.safe_dump({"manifest": "actors.json", "sources": _SOURCES, "routes": routes}))
    for command in ("run", "check", "test"):
        done = subprocess.run(
            [sys.executable, "-m", "bridge", command, str(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 78
        assert "the application has no actor 'plian'; did you mean 'plain'?" in done.stderr


def test_enforce_manifest_needs_one(tmp_path: Path) -> None:
    """Otherwise nothing would be enforced, silently."""
    path = tmp_path / "bridge.yaml"
    path.write_text(yaml.safe_dump({"enforce_manifest": True, "sources": _SOURCES}))
    with pytest.raises(ConfigError, match="enforce_manifest: there is no manifest to enforce; add manifest: FILE"):
        config.load(path)
