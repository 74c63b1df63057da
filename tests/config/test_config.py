"""Loading a configuration: its values, several mistakes at once, and mistakes that a check adds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.config import Amqp, Config, Mqtt, RedisPubsub, RedisStream, load, schema
from bridge.config.reader import parse
from bridge.config.substitution import Substitution
from bridge.errors import ConfigError, Diagnostic

ROOT = Path(__file__).parents[2]
EXAMPLES = [ROOT / "config/bridge.yaml", *sorted((ROOT / "config/examples").glob("*.yaml"))]
PLANT = "sources:\n  plant: {type: mqtt, url: mqtt://localhost}\n"

Load = Callable[..., Config]


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    """Load a text as a configuration."""

    def load_text(text: str, check: Callable[[Config], list[Diagnostic]] | None = None, **environ: str) -> Config:
        path = tmp_path / "bridge.yaml"
        path.write_bytes(text.encode())
        return load(path, environ=environ, check=check)

    return load_text


def places(error: ConfigError) -> list[tuple[int, int, str]]:
    """Return where the mistakes are."""
    return [(diagnostic.line, diagnostic.column, diagnostic.where) for diagnostic in error.diagnostics]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_loads_with_an_empty_environment(path: Path) -> None:
    """An example can be run as it is."""
    assert load(path, environ={}).routes


@pytest.mark.parametrize(
    "name",
    [
        "bridge",
        "examples/iot-fleet",
        "examples/legacy-rabbitmq",
        "examples/rabbitmq-stream",
        "examples/redis-pubsub",
        "examples/audit-stream",
        "examples/shop-orders",
        "examples/smart-home",
        "examples/publishers",
    ],
)
def test_an_editor_finds_the_schema(name: str) -> None:
    """The first line of an example names the schema, relative to the file."""
    path = ROOT / "config" / f"{name}.yaml"
    key, _, target = path.read_text(encoding="utf-8").splitlines()[0].partition("=")
    assert key == "# yaml-language-server: $schema"
    assert (path.parent / target).resolve() == ROOT / "config/bridge.schema.json"


def test_the_schema_for_editors_is_current() -> None:
    """`config/bridge.schema.json` describes the configuration that this version reads."""
    assert json.loads((ROOT / "config/bridge.schema.json").read_text(encoding="utf-8")) == schema()


def test_defaults_are_the_documented_ones(loaded: Load) -> None:
    """A key that is left out has the documented value; durations are milliseconds, sizes are bytes."""
    config = loaded("""\
sources:
  m: {type: mqtt, url: mqtt://localhost}
  a: {type: amqp, url: amqp://localhost/, queue: q, declare: {}}
  p: {type: redis-pubsub, url: redis://localhost, channels: [c]}
  s: {type: redis-stream, url: redis://localhost, streams: [s], group: g}
routes:
  - {from: m, actor: act}
""")
    mqtt, amqp, pubsub, stream = config.sources.values()
    assert isinstance(mqtt, Mqtt)
    assert (mqtt.version, mqtt.qos, mqtt.topics, mqtt.client_id) == ("5", 1, [], None)
    assert (mqtt.keepalive, mqtt.session_expiry, mqtt.connect_timeout) == (30_000, 604_800_000, 10_000)
    assert (mqtt.decode, mqtt.max_body, mqtt.window.events, mqtt.window.bytes) == ("json", 262_144, 1_000, 16_777_216)
    assert isinstance(amqp, Amqp)
    assert amqp.declare is not None
    assert (amqp.heartbeat, amqp.declare.exchange, amqp.declare.type) == (10_000, None, "topic")
    assert (amqp.declare.bindings, amqp.declare.durable, amqp.declare.arguments) == ([], True, {})
    assert isinstance(pubsub, RedisPubsub)
    assert isinstance(stream, RedisStream)
    assert (stream.start, stream.field, stream.consumer, stream.claim_after) == ("beginning", None, None, 60_000)
    assert [source.dead_letter_unmatched for source in config.sources.values()] == [False, True, False, True]
    route = config.routes[0]
    assert (route.queue, route.args, route.kwargs, route.options, route.delay) == ("default", [], {}, {}, None)
    assert (config.dramatiq.url, config.dramatiq.namespace) == ("redis://localhost:6379/0", "dramatiq")
    assert (config.dramatiq.timeout, config.drain_timeout, config.dead_letters.max_length) == (10_000, 20_000, 10_000)
    assert (config.log.format, config.log.level) == (None, "info")
    assert (config.dramatiq.max_queue_depth, config.dramatiq.max_memory) == (None, 90)


def test_values_keep_the_types_of_yaml_1_2(loaded: Load) -> None:
    """A literal argument arrives as it is written: dates, versions and quoted digits are text."""
    config = loaded(
        PLANT
        + "routes:\n  - from: plant\n    actor: act\n"
        + "    args: [1, -2, 0x1F, 0o17, 1.5, 1e3, true, False, null, ~, 2026-11-22, 3.1.1, '007', \"no\", y, 0b1, a#b]\n"
    )
    assert repr(config.routes[0].args) == repr(
        [1, -2, 31, 15, 1.5, 1e3, True, False, None, None, "2026-11-22", "3.1.1", "007", "no", "y", "0b1", "a#b"]
    )


def test_words_that_are_booleans_elsewhere_are_fine_as_keys(loaded: Load) -> None:
    """A keyword argument may be called `on` or `no` without quotes."""
    config = loaded(PLANT + "routes:\n  - {from: plant, actor: act, kwargs: {on: 1, no: 2}}\n")
    assert config.routes[0].kwargs == {"on": 1, "no": 2}


def test_every_route_has_a_name_of_its_own(loaded: Load) -> None:
    """A route without a name is called like its actor, with a number where that name is taken."""
    routes = "".join(
        f"  - {route}\n" for route in ["{from: plant, actor: a}"] * 3 + ["{from: plant, name: a-2, actor: b}"]
    )
    assert [route.name for route in loaded(f"{PLANT}routes:\n{routes}").routes] == ["a", "a-3", "a-4", "a-2"]


def test_literal_options_become_what_dramatiq_takes(loaded: Load) -> None:
    """Options are written with units and sent in milliseconds; a pipeline's step needs its actor only."""
    config = loaded(
        PLANT
        + """\
routes:
  - from: plant
    actor: act
    delay: 2s
    when: $ payload.a
    options:
      time_limit: 30s
      max_retries: null
      min_backoff: $payload.backoff
      of_my_own: [1]
      pipe_target: {actor_name: next, args: [$payload.id], options: {delay: 1m}}
"""
    )
    route = config.routes[0]
    assert (route.delay, route.when) == (2_000, "payload.a")
    assert route.options == {
        "time_limit": 30_000,
        "max_retries": None,
        "min_backoff": "$payload.backoff",
        "of_my_own": [1],
        "pipe_target": {
            "actor_name": "next",
            "args": ["$payload.id"],
            "kwargs": {},
            "options": {"delay": 60_000},
        },
    }


@pytest.mark.parametrize(
    ("given", "depths", "share"),
    [
        ("{max_queue_depth: 500, max_memory: 1%}", {"*": 500}, 1),
        ('{max_queue_depth: {alarms: 5, "*": 9}, max_memory: 100%}', {"alarms": 5, "*": 9}, 100),
        ("{max_queue_depth: {}, max_memory: null}", {}, None),
        ("\n  max_queue_depth: ${DEPTH}\n  max_memory: ${SHARE}", {"*": 7}, 70),
        ("\n  max_queue_depth: {alarms: 5}\n  max_memory: ${NONE:-}", {"alarms": 5}, None),
        ("\n  max_queue_depth:\n    alarms: ${DEPTH}\n  max_memory: 5%", {"alarms": 7}, 5),
        ("\n  max_queue_depth: ${NONE:-}", None, 90),
    ],
)
def test_bounds_are_one_for_all_or_one_for_each(
    given: str, depths: dict[str, int] | None, share: int | None, loaded: Load
) -> None:
    """A bound of depth is for every queue, or by queue; a share is a number of percent, and null none; also substituted."""
    dramatiq = loaded(f"{PLANT}dramatiq: {given}\n", DEPTH="7", SHARE="70%").dramatiq
    assert (dramatiq.max_queue_depth, dramatiq.max_memory) == (depths, share)


@pytest.mark.parametrize("version", ["5", '"5"', "3.1.1"])
def test_a_version_needs_no_quotes(version: str, loaded: Load) -> None:
    """`version: 5` and `version: 3.1.1` are read as the versions of MQTT."""
    source = loaded(f"sources:\n  m: {{type: mqtt, url: mqtt://localhost, version: {version}}}\n").sources["m"]
    assert isinstance(source, Mqtt)
    assert source.version == version.strip('"')


def test_all_mistakes_come_at_once_and_in_the_order_of_the_file(loaded: Load) -> None:
    """One run shows every mistake, of every kind."""
    with pytest.raises(ConfigError) as caught:
        loaded("""\
dramatiq: {timeout: 10}
sources:
  plant:
    type: mqtt
    url: mqtt://localhost
    tls: {ca: ca.pem}
    qos: yes
    keepalve: 30s
routes:
  - from: plnt
    topic: *.a
    actor: ${ACTOR}
    args: 5
log: {level: loud}
""")
    assert places(caught.value) == [
        (1, 21, "dramatiq.timeout"),
        (6, 5, "sources.plant.tls"),
        (7, 10, "sources.plant.qos"),
        (8, 5, "sources.plant.keepalve"),
        (10, 11, "routes[0].from"),
        (11, 12, "routes[0].topic"),
        (12, 12, "routes[0].actor"),
        (13, 11, "routes[0].args"),
        (14, 14, "log.level"),
    ]


def test_a_flood_of_mistakes_ends_at_a_hundred(loaded: Load) -> None:
    """A file of the wrong kind does not fill the terminal."""
    with pytest.raises(ConfigError) as caught:
        loaded(PLANT + "routes:\n" + "  - {from: plant, actor: act, x: 1}\n" * 500)
    assert len(caught.value.diagnostics) == 100
    assert caught.value.diagnostics[0].line == 4


@pytest.mark.parametrize(
    ("when", "offset", "column"),
    [
        ("payload.a + b", 12, 23),
        ("$payload.a + b", 12, 24),
        ("'payload.a + b'", 12, 24),
        ("'x == ''a'' + b'", 11, 25),
        (r'"x == \"a\" + b"', 11, 25),
        ("'é → 😀' # comment", 4, 16),
    ],
)
def test_a_check_points_into_an_expression(when: str, offset: int, column: int, loaded: Load) -> None:
    """A mistake inside an expression is shown at its character: past quotes, escapes and the leading `$`."""

    def check(_config: Config) -> list[Diagnostic]:
        return [Diagnostic(("routes", 0, "when"), "unknown name `b`", "did you mean `a`?", offset)]

    with pytest.raises(ConfigError) as caught:
        loaded(f"{PLANT}routes:\n  - from: plant\n    actor: act\n    when: {when}\n", check)
    assert places(caught.value) == [(6, column, "routes[0].when")]
    assert str(caught.value).endswith(f"\n        when: {when}\n    {' ' * (column - 1)}^")


def test_a_check_may_name_a_path_that_is_not_in_the_file(loaded: Load) -> None:
    """A mistake whose path is not in the file is shown at the nearest key or value around it."""

    def check(_config: Config) -> list[Diagnostic]:
        return [
            Diagnostic(("routes", 0, "from"), "one"),
            Diagnostic(("routes", 0, "args", 3), "two"),
            Diagnostic((), "three"),
        ]

    with pytest.raises(ConfigError) as caught:
        loaded(PLANT + "routes:\n  - from: plant\n    actor: act\n", check)
    assert places(caught.value) == [(1, 1, ""), (4, 5, "routes[0].args[3]"), (4, 11, "routes[0].from")]


def test_a_check_sees_the_valid_routes_of_a_wrong_configuration(loaded: Load) -> None:
    """A valid route is checked while other routes have mistakes; its own are shown at its place."""
    seen: list[str] = []

    def check(config: Config) -> list[Diagnostic]:
        seen.extend(route.actor for route in config.routes)
        return [Diagnostic(("routes", 0, "args", 0), "a mistake inside", "", 1)]

    with pytest.raises(ConfigError) as caught:
        loaded(
            PLANT + "routes:\n  - {from: plant, actor: act, queue: __x}\n  - {from: plant, actor: good, args: [$x]}\n",
            check,
        )
    assert seen == ["good"]
    first, second = caught.value.diagnostics
    assert (first.where, second.where, second.message) == ("routes[0].queue", "routes[1].args[0]", "a mistake inside")
    assert second.line == first.line + 1


@pytest.mark.parametrize("before", ["é", "漢字", "😀😀", "e\u0301"])
def test_columns_count_characters(before: str, loaded: Load) -> None:
    """Text that is not ASCII moves no caret by its bytes."""
    line = f"  - {{from: plant, name: {before}, actor: act, quue: x}}"
    with pytest.raises(ConfigError) as caught:
        loaded(f"{PLANT}routes:\n{line}\n")
    assert places(caught.value) == [
        (4, line.index(before) + 1, "routes[0].name"),
        (4, line.index("quue") + 1, "routes[0].quue"),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_as_on_any_system(end: str, loaded: Load) -> None:
    """A file from Windows, with a byte order mark too, has the same lines."""
    with pytest.raises(ConfigError) as caught:
        loaded("\ufeff" + (PLANT + "log: {level: loud}\n").replace("\n", end))
    assert [str(diagnostic).splitlines()[1:] for diagnostic in caught.value.diagnostics] == [
        ["    log: {level: loud}", " " * 17 + "^"]
    ]


def test_a_file_that_cannot_be_read_is_a_mistake_too(tmp_path: Path) -> None:
    """A missing file, a directory, a huge file and one in another encoding end in words, not in a traceback."""
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * (1 << 20) + b"\n")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: \xe9\n")
    expected = {
        tmp_path / "missing.yaml": ":1:1: cannot be read: No such file or directory",
        tmp_path: ":1:1: cannot be read: Is a directory",
        huge: ":1:1: the file is larger than 1MiB",
        latin: ":1:4: the file is not UTF-8 text\n    a:\n       ^",
    }
    for path, words in expected.items():
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert str(caught.value) == f"{path}{words}"


def test_without_libyaml_the_same_values_and_places_come_out() -> None:
    """A Python without libyaml reads the same configuration."""
    for path in EXAMPLES:
        fast, slow = (
            parse(path.read_bytes(), "f", Substitution({}), loader) for loader in (yaml.CSafeLoader, yaml.SafeLoader)
        )
        assert fast.value == slow.value
        assert fast.keys == slow.keys
        assert {loc: span.start for loc, span in fast.values.items()} == {
            loc: span.start for loc, span in slow.values.items()
        }


_PIECES = st.sampled_from(
    [
        "sources:",
        "routes:",
        "plant",
        "type: mqtt",
        "url: ",
        "redis://a:b@c",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "'",
        '"',
        "*",
        "&a ",
        "<<: ",
        "#",
        " # ",
        "${",
        "}",
        "$",
        "|",
        ">",
        "---\n",
        "!!",
        "%",
        "\t",
        ": ",
        ", ",
        "\\",
        "\r",
        "password: ",
        "from: plant",
        "actor: act",
        "options: ",
        "pipe_target: ",
        "0123",
        "no",
        "\u2028",
        "\x85",
        "😀",
    ]
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.text(), st.lists(_PIECES, max_size=40).map("".join)))
def test_every_file_loads_or_its_mistakes_are_listed(text: str, loaded: Load) -> None:
    """No content of a file ends in a traceback, and every mistake has a place within the file."""
    with pytest.raises(ConfigError) as caught:
        # A file that could be right is made wrong at its end, so that there is always a mistake.
        loaded(f"{text}\n? [not, a, key]\n")
    assert caught.value.diagnostics
    for diagnostic in caught.value.diagnostics:
        assert diagnostic.line >= 1
        assert diagnostic.column >= 1
        assert diagnostic.message


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200))
def test_bytes_that_are_no_text_are_a_mistake(body: bytes, tmp_path: Path) -> None:
    """A binary file is refused in words."""
    path = tmp_path / "binary.yaml"
    path.write_bytes(body)
    with pytest.raises(ConfigError):
        load(path, environ={})


_VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["$x", "30s", "plant"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(
    [
        "sources",
        "routes",
        "log",
        "dramatiq",
        "url",
        "type",
        "from",
        "actor",
        "args",
        "options",
        "pipe_target",
        "tls",
        "x",
    ]
)


@pytest.mark.no_cover  # it takes long enough without the tracer
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.dictionaries(_KEYS, st.dictionaries(_KEYS, _VALUE) | st.lists(st.dictionaries(_KEYS, _VALUE)) | _VALUE))
def test_values_of_any_shape_are_told_in_words(value: object, loaded: Load) -> None:
    """A value of any type at any place ends in plain words, and never in pydantic's."""
    with pytest.raises(ConfigError) as caught:
        loaded(json.dumps(value, ensure_ascii=False, default=str))
    for diagnostic in caught.value.diagnostics:
        assert "Input should" not in diagnostic.message
        assert "this value cannot be used" not in diagnostic.message
