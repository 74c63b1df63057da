"""The import graph: who may import whom, as ARCHITECTURE.md draws it."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from typing import Final

import grimp
import pytest

#: The folders of `bridge/` in the order of an event's way: each imports only those above it.
LAYERS: Final = (
    *(
        "model",
        "topics",
        "config",
        "manifest",
        "connecting",
        "redis_io",
        "routing",
        "dry_run",
        "sources",
        "spool",
        "sink",
        "delivery",
        "preflight",
        "dead_letters",
        "admin",
        "process",
    ),
    *("demo", "testing", "commands"),
)
#: Everybody may import these, and they import nothing of the bridge but each other.
COMMON: Final = ("errors", "backoff", "garbage", "observe")


@cache
def _graph() -> grimp.ImportGraph:
    return grimp.build_graph("bridge", cache_dir=None)


def _imports() -> list[tuple[str, str]]:
    graph = _graph()
    return sorted(
        (importer, imported)
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    )


def _folder(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_folder_has_its_place() -> None:
    """A new folder gets a layer here, and a line in ARCHITECTURE.md."""
    folders = {_folder(module) for module in _graph().modules} - {
        "",
        "cli",
        "__main__",
        "pytest_plugin",
        "worker_middleware",
    }
    assert folders == {*LAYERS, *COMMON}


def test_a_folder_imports_only_those_above_it() -> None:
    """An event's way goes down the list, and no import goes back up."""
    wrong = []
    for importer, imported in _imports():
        lower, upper = _folder(importer), _folder(imported)
        if lower in COMMON and upper not in (*COMMON, ""):
            wrong.append(f"{importer} -> {imported}")
        if lower in LAYERS and upper in LAYERS and LAYERS.index(upper) > LAYERS.index(lower):
            wrong.append(f"{importer} -> {imported}")
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Neither within a folder nor across folders."""
    graph = _graph()
    circles = sorted(
        module
        for module in graph.modules
        if any(graph.chain_exists(imported, module) for imported in graph.find_modules_directly_imported_by(module))
    )
    assert circles == []


@pytest.mark.parametrize("protocol", ["amqp", "mqtt"])
def test_a_protocol_is_imported_by_the_registry_alone(protocol: str) -> None:
    """Outside its own folder only `sources/__init__.py` names it."""
    inside = f"bridge.sources.{protocol}"
    importers = {importer for importer, imported in _imports() if imported.startswith(inside)}
    assert {importer for importer in importers if not importer.startswith(inside)} <= {"bridge.sources"}


def _printed(program: str) -> list[str]:
    """Return the lines that a program of its own prints: it has imported nothing before."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("module", ["bridge.commands.run", "bridge.testing", "bridge.commands.check"])
def test_a_protocols_library_is_loaded_when_a_source_needs_it(module: str) -> None:
    """Neither a bridge that reads Redis alone nor an application's tests pay for the others'."""
    program = f"import sys, {module}; print(sorted({{'aio_pika', 'paho'}} & sys.modules.keys()))"
    assert _printed(program) == ["[]"]


def test_the_admin_servers_libraries_are_loaded_where_it_is_on() -> None:
    """A bridge without one loads neither aiohttp nor prometheus-client; `bridge.admin.server` loads both."""
    program = (
        "import sys, bridge.commands.run, bridge.process.bridge, bridge.process.supervisor\n"
        "print(sorted({'aiohttp', 'prometheus_client'} & sys.modules.keys()))\n"
        "import bridge.admin.server\n"
        "print(sorted({'aiohttp', 'prometheus_client'} & sys.modules.keys()))\n"
    )
    assert _printed(program) == ["[]", "['aiohttp', 'prometheus_client']"]


def test_opentelemetry_is_loaded_where_traces_are_written() -> None:
    """A bridge without `tracing` imports nothing of it, though it is installed; redis-py has its own use for it."""
    program = (
        "import sys, bridge.process.telemetry, bridge.routing.router, bridge.dry_run.runs, bridge.spool\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    assert _printed(program) == ["[]"]


def test_the_watch_over_files_is_loaded_where_it_is_asked_for() -> None:
    """`run` without `--reload-on-change` has nothing of it."""
    program = "import sys, bridge.commands.run; print('bridge.process.file_watch' in sys.modules)"
    assert _printed(program) == ["False"]


def test_the_admin_server_imports_no_part_that_moves_events() -> None:
    """It sees a bridge by `Controlled` alone: the words, the settings, and the helpers of everybody."""
    imported = {_folder(other) for importer, other in _imports() if _folder(importer) == "admin"}
    assert imported <= {"admin", "model", "config", "errors", "observe", "backoff", ""}


def test_redis_py_loads_no_opentelemetry_for_the_bridge() -> None:
    """It would take a tenth of a second of each process; the SDK can be imported afterwards, and Redis is whole."""
    program = (
        "import sys, bridge.process.bridge\n"
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry.sdk')))\n"
        "import redis, opentelemetry.sdk.metrics\n"
        "print(redis.Redis.__name__, opentelemetry.sdk.metrics.MeterProvider.__name__)\n"
    )
    assert _printed(program) == ["[]", "Redis MeterProvider"]
