"""The arguments of every command, with a sentence, an example and the exit codes in each `--help`.

It imports no command: `--help` loads no library of a protocol.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, NoReturn

import bridge
from bridge.commands.dead_arguments import add_dead
from bridge.commands.parsers import Commands, add_command

_ROUTE_CODES: Final = (
    "exit codes: 0 (a route fits, or it is as --expect says), 1 (it is not), 2 (usage), 3 (no route fits),\n"
    "            4 (a dead letter), 78 (mistakes in the configuration)"
)
_STATUS_CODES: Final = (
    "exit codes: 0 (ready), 1 (not ready, or not reachable), 2 (usage), 78 (mistakes in the configuration)"
)
_RELOAD_CODES: Final = (
    "exit codes: 0 (loaded; without --wait: accepted), 1 (nothing has changed, or not reachable), 2 (usage),\n"
    "            78 (mistakes in the `admin:` of CONFIG)"
)
_TAP_CODES: Final = (
    "exit codes: 0 (--limit or --for is reached, or Ctrl-C), 1 (the bridge has ended, or is not reachable), 2 (usage),\n"
    "            78 (mistakes in the `admin:` of CONFIG)"
)
_COLORS: Final = ("auto", "always", "never")

#: The columns that `top` can be sorted by.
SORTS: Final = ("events", "enqueued", "filtered", "dead", "name")


class _Parser(argparse.ArgumentParser):
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Refuse what this command does not know by its own usage, and not, as the base class does, by that of all."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(_not_understood(unknown, self._option_string_actions))
        return found, unknown

    def error(self, message: str) -> NoReturn:
        # An argument that is not understood may be a URL, and standard error a log.
        from bridge.config import redacted_url  # noqa: PLC0415 - see above

        super().error(" ".join(map(redacted_url, message.split(" "))))


def _not_understood(unknown: list[str], options: Iterable[str]) -> str:
    from bridge.config.wording import near_miss  # noqa: PLC0415 - see above

    known = [option for option in options if option.startswith("--")]
    hints = (near_miss(word.partition("=")[0], known) for word in unknown if word.startswith("--"))
    hint = next(filter(None, hints), "")
    return f"unrecognized arguments: {' '.join(unknown)}{f'; {hint}' if hint else ''}"


def command_line() -> argparse.ArgumentParser:
    """Return the parser of `dramatiq-bridge` with all its commands; `command` is the name of the one that was given."""
    parser = _Parser(
        prog="dramatiq-bridge", description="Events from AMQP, MQTT and Redis become Dramatiq messages in Redis."
    )
    parser.add_argument("--version", action="version", version=f"dramatiq-bridge {bridge.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_run, _check, _test, _route, _send, _status, _top, _tap, _graph, _pause, _resume, _reload):
        add(commands)
    add_dead(commands)
    for add in (_actors, _schema, _completion, _demo):
        add(commands)
    return parser


def _percent(text: str) -> float:
    with suppress(ValueError):
        if 0 <= float(text) <= 100:
            return float(text)
    raise argparse.ArgumentTypeError(f"takes a number from 0 to 100, not {text!r}")


def _color(parser: Any) -> None:
    parser.add_argument("--color", choices=_COLORS, default="auto", help="auto: on a terminal, unless NO_COLOR is set")


def _count(text: str) -> int:
    if text.isascii() and text.isdecimal() and 0 < len(text) < 10 and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"takes a number of events, not {text!r}")


def _interval(text: str) -> float:
    from bridge.config import parse_duration  # noqa: PLC0415 - `--help` loads none of it

    try:
        milliseconds = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if milliseconds < 100:
        raise argparse.ArgumentTypeError("takes a duration of at least 100ms")
    return milliseconds / 1000


def _daemon(parser: Any) -> None:
    """Add the arguments by which a running bridge is found."""
    found = parser.add_mutually_exclusive_group()
    found.add_argument("--config", metavar="CONFIG", help="the bridge of this file, by its `admin:`")
    found.add_argument(
        "--admin",
        metavar="ADDRESS",
        help="the bridge at this address, as in 127.0.0.1:9464 or unix:/path; without either, the service's socket or 127.0.0.1:9464",
    )
    _token(parser)


def _token(parser: Any) -> None:
    parser.add_argument(
        "--token",
        metavar="TOKEN",
        help="instead of the file's; '${NAME}' keeps it out of the process list; without it DRAMATIQ_BRIDGE_TOKEN",
    )


def _run(commands: Commands) -> None:
    run = add_command(commands, "run", "run the bridge until SIGTERM or SIGINT", "dramatiq-bridge run bridge.yaml")
    run.add_argument("config", metavar="CONFIG")
    run.add_argument("--log-format", choices=("json", "console"), help="console on a terminal, JSON lines otherwise")
    run.add_argument("--log-level", choices=("debug", "info", "warning", "error"))
    run.add_argument("--admin", metavar="ADDRESS", help="where the admin server listens, instead of `admin.listen`")
    run.add_argument(
        "--reload-on-change",
        action="store_true",
        help="look every 2 s whether CONFIG or a file that it names has other contents, and load it again",
    )


def _check(commands: Commands) -> None:
    example = "dramatiq-bridge check --allow-unset --manifest actors.json config/*.yaml"
    check = add_command(
        commands, "check", "check configurations; connect to nothing, unless --connect is given", example
    )
    check.add_argument(
        "config", nargs="+", metavar="CONFIG", help="NAME_test.yaml beside NAME.yaml is read too; - is standard input"
    )
    known = check.add_mutually_exclusive_group()
    known.add_argument("--actors", action="append", metavar="MODULE", help="check the calls against this application")
    known.add_argument("--manifest", metavar="FILE", help="check the calls against what `actors` has written")
    values = check.add_mutually_exclusive_group()
    values.add_argument(
        "--connect",
        action="store_true",
        help="look at Redis and at each broker too: consumes nothing, changes nothing; exit code 1 with a problem there",
    )
    values.add_argument(
        "--allow-unset",
        action="store_true",
        help="for CI: use placeholders for variables and files that this machine does not have",
    )
    check.add_argument("--json", action="store_true", help="print JSON")
    _color(check)


def _test(commands: Commands) -> None:
    example = "dramatiq-bridge test --coverage --at-least 90 bridge.yaml"
    test = add_command(commands, "test", "run the tests of the routes, and connect to nothing", example)
    test.add_argument("config", nargs="+", metavar="CONFIG", help="NAME_test.yaml beside NAME.yaml is read too")
    test.add_argument("--run", metavar="REGEX", help="run only the tests whose names match")
    test.add_argument("--junit", metavar="FILE", help="write the results there too")
    test.add_argument("--coverage", action="store_true", help="show what no test covers")
    test.add_argument("--at-least", type=_percent, metavar="PERCENT", help="--coverage, and fail below")
    test.add_argument("-q", "--quiet", action="store_true", help="print failures and the summary only")
    _color(test)


def _route(commands: Commands) -> None:
    example = "dramatiq-bridge route bridge.yaml --from plant --topic plants/3 --payload '{\"celsius\": 300}'"
    sentence = "show what the routes make of one event, and connect to nothing; the values of ${...} are shown as ***"
    route = add_command(commands, "route", sentence, example, _ROUTE_CODES)
    route.add_argument("config", metavar="CONFIG")
    route.add_argument("--from", dest="source", required=True, metavar="SOURCE", help="the source's name")
    route.add_argument("--topic", default="", help="MQTT topic, AMQP routing key, Redis channel or stream")
    route.add_argument(
        "--payload",
        default="null",
        metavar="BODY",
        help="the event's body, as the source would bring it; @FILE reads a file, and - standard input",
    )
    route.add_argument("--header", action="append", default=[], metavar="NAME=VALUE")
    route.add_argument("--meta", action="append", default=[], metavar="NAME=VALUE", help="such as retain=true")
    route.add_argument("--at", metavar="TIME", help="when it comes, as in 2026-11-27T06:00:00Z; without it, now")
    route.add_argument(
        "--expect", metavar="RESULT", help="fits:ROUTE, none or dead-letter: exit with 0 only if it is so"
    )
    route.add_argument("--json", action="store_true", help="print JSON; the ids in it are the same in each run")
    _color(route)


def _send(commands: Commands) -> None:
    example = "dramatiq-bridge send send_report 2026-11-27 --kwarg urgent=true --config bridge.yaml"
    send = add_command(commands, "send", "send one message to an actor, from a shell or a cron job", example)
    send.add_argument("actor", metavar="ACTOR")
    send.add_argument("args", nargs="*", metavar="ARG", help="JSON where it parses, otherwise text")
    send.add_argument("--kwarg", action="append", default=[], metavar="NAME=VALUE")
    send.add_argument("--queue", help="without it, the actor's by the manifest, or default")
    send.add_argument("--manifest", metavar="FILE", help="check the call against what `actors` has written")
    send.add_argument("--delay", metavar="DURATION", help="such as 10s")
    target = send.add_mutually_exclusive_group()
    target.add_argument(
        "--redis",
        metavar="URL",
        help="redis://localhost:6379/0 if neither is given; '${NAME}' in it keeps a password out of the process list",
    )
    target.add_argument("--config", metavar="CONFIG", help="take `dramatiq:` from this file")
    send.add_argument("--namespace", default="dramatiq", help="with --redis")


def _status(commands: Commands) -> None:
    sentence = "show how a running bridge stands: ready or not, and why"
    example = "dramatiq-bridge status --config bridge.yaml"
    status = add_command(commands, "status", sentence, example, _STATUS_CODES)
    _daemon(status)
    status.add_argument("--json", action="store_true", help="print the JSON of the admin server")
    _color(status)


def _top(commands: Commands) -> None:
    sentence = "watch a running bridge: events a second, by source and by route; q quits, s sorts, / filters, p pauses"
    top = add_command(commands, "top", sentence, "dramatiq-bridge top --admin 127.0.0.1:9464 --sort dead --interval 5s")
    _daemon(top)
    top.add_argument("--interval", type=_interval, default=1.0, metavar="DURATION", help="between two looks; 1s")
    top.add_argument("--once", action="store_true", help="print one table, after one interval; needs no terminal")
    top.add_argument("--sort", choices=SORTS, default="events", help="the greatest first; names by the alphabet")
    top.add_argument("--filter", default="", metavar="TEXT", help="sources, routes and queues with this in their names")
    _color(top)


def _tap(commands: Commands) -> None:
    sentence = "show the events of a running bridge as they get their outcome, and what each route made of them"
    example = "dramatiq-bridge tap --config bridge.yaml --route oven-too-hot --topic 'plants/3/*' --for 30s"
    tap = add_command(commands, "tap", sentence, example, _TAP_CODES)
    tap.add_argument("--source", metavar="SOURCE", help="only events of this source")
    tap.add_argument("--route", metavar="ROUTE", help="only events that the topic of this route fits")
    tap.add_argument("--topic", metavar="GLOB", help="only these topics: * is any run of characters, ? is one")
    tap.add_argument("--limit", type=_count, metavar="N", help="end after so many events")
    tap.add_argument("--for", dest="seconds", type=_interval, metavar="DURATION", help="end after this time, as in 30s")
    form = tap.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the lines as the admin server sends them")
    form.add_argument(
        "--as-test", action="store_true", help="print each event as a test, with what the routes make of it"
    )
    _daemon(tap)
    _color(tap)


def _graph(commands: Commands) -> None:
    sentence = "draw the way of the events: sources, routes, queues and actors, dead letters"
    example = "dramatiq-bridge graph bridge.yaml --format mermaid"
    graph = add_command(commands, "graph", sentence, example)
    graph.add_argument("config", nargs="?", metavar="CONFIG", help="draw this file, without a running bridge")
    graph.add_argument("--format", choices=("text", "mermaid", "dot"), default="text")
    graph.add_argument("--live", action="store_true", help="add the events a second of the bridge that runs CONFIG")
    graph.add_argument(
        "--admin",
        metavar="ADDRESS",
        help="add those of the bridge at this address, as in 127.0.0.1:9464, unix:/path; without CONFIG, draw that bridge",
    )
    _token(graph)


def _pause(commands: Commands) -> None:
    sentence = "pause a source or a route of a running bridge, until `resume` or the bridge's end"
    pause = add_command(commands, "pause", sentence, "dramatiq-bridge pause plant --config bridge.yaml")
    pause.add_argument("name", metavar="NAME", help="of a source or a route; a source comes first")
    _daemon(pause)


def _resume(commands: Commands) -> None:
    sentence = "resume a source or a route that `pause` has paused"
    resume = add_command(commands, "resume", sentence, "dramatiq-bridge resume plant --config bridge.yaml")
    resume.add_argument("name", metavar="NAME", help="of a source or a route; a source comes first")
    _daemon(resume)


def _reload(commands: Commands) -> None:
    sentence = "have a running bridge load its configuration again; with mistakes in it nothing changes"
    example = "dramatiq-bridge reload --wait --config bridge.yaml"
    reload = add_command(commands, "reload", sentence, example, _RELOAD_CODES)
    reload.add_argument("--wait", action="store_true", help="until it is carried out, and print the changes")
    _daemon(reload)


def _actors(commands: Commands) -> None:
    example = "dramatiq-bridge actors my_app.tasks --output actors.json"
    sentence = "write the manifest of a Dramatiq application, in the application's environment"
    actors = add_command(commands, "actors", sentence, example)
    actors.add_argument("module", nargs="+", metavar="MODULE", help="as for `dramatiq` itself: my_app.tasks")
    actors.add_argument("-o", "--output", metavar="FILE", help="write it there; without it, to standard output")


def _schema(commands: Commands) -> None:
    example = "dramatiq-bridge schema --manifest actors.json > bridge.schema.json"
    schema = add_command(commands, "schema", "print the configuration's JSON Schema, for editors", example)
    schema.add_argument("--manifest", metavar="FILE", help="complete the names of these actors and their queues")


def _completion(commands: Commands) -> None:
    example = 'eval "$(dramatiq-bridge completion bash)"'
    completion = add_command(commands, "completion", "print what makes a shell complete this command line", example)
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))


def _demo(commands: Commands) -> None:
    sentence = "run everything in miniature: brokers, bridge, worker, events"
    demo = add_command(commands, "demo", sentence, "dramatiq-bridge demo --seconds 20")
    demo.add_argument("--seconds", type=float, help="stop after this long; otherwise Ctrl-C does")
