"""`defaults:`: settings that all sources of a type share."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from bridge.config import Config, load
from bridge.config.loading import load_with_places
from bridge.config.substitution import Substitution
from bridge.errors import ConfigError
from bridge.routing.compiler import check_routes

Load = Callable[..., Config]


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    """Load a text as a configuration."""

    def load_text(text: str, **environ: str) -> Config:
        path = tmp_path / "bridge.yaml"
        path.write_text(text)
        return load(path, environ=environ, check=check_routes)

    return load_text


def test_a_source_has_the_defaults_of_its_type(loaded: Load) -> None:
    """Also the required ones; its own key wins as a whole, and null or the built-in value goes back to none."""
    config: Any = loaded(
        """\
defaults:
  mqtt: {url: "mqtts://u:${PW}@h", tls: {ca: /ca, server_name: h}, window: {events: 7}, qos: 0}
  amqp: {url: amqp://a/, queue: q}
sources:
  a: {type: mqtt}
  b: {type: mqtt, url: mqtt://b, tls: null, window: {bytes: 1MiB}, qos: 1}
  c: {type: amqp}
  d: {type: redis-pubsub, url: redis://localhost, channels: [c]}
""",
        PW="hunter2hunter2",
    )
    a, b, c, d = config.sources.values()
    assert (a.url, a.tls.ca, a.window.events, a.qos) == ("mqtts://u:hunter2hunter2@h", "/ca", 7, 0)
    assert (b.url, b.tls, b.window.events, b.window.bytes, b.qos) == ("mqtt://b", None, 1_000, 1 << 20, 1)
    assert (c.url, c.queue, d.window.events) == ("amqp://a/", "q", 4_000)
    assert "hunter2hunter2" in config.secrets()
    assert "hunter2" not in repr(config)


def test_a_default_that_nobody_uses_is_kept_nowhere(loaded: Load) -> None:
    """A password in it is in no repr; and a child process gets the sources as they are."""
    text = "defaults: {mqtt: {url: 'mqtt://u:hunter2@h', qos: 0}}\nsources: {a: {type: mqtt, url: mqtt://b}}\n"
    config = loaded(text)
    assert "hunter2" not in repr(config)
    assert b"hunter2" not in pickle.dumps(config)
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301 - our own


# The promise: a file, and the exact words of its mistakes.
CASES: Final = {
    "a mistake in a default is found once, at its place": (
        """\
defaults:
  mqtt: {url: http://h, qos: 3, password: 5, tls: {cert: a}, deduplicate: {key: $foo}}
sources:
  a: {type: mqtt}
  b: {type: mqtt}
""",
        [
            "2:15: defaults.mqtt.url: takes a URL that begins with mqtt:// or mqtts://",
            "2:30: defaults.mqtt.qos: takes 0 or 1",
            "2:43: defaults.mqtt.password: takes text, not a number; quote it",
            "2:46: defaults.mqtt.tls: a certificate needs its key, and a key its certificate; set both; they may be the same file",
            "2:82: defaults.mqtt.deduplicate.key: there is no name 'foo'; a field of the payload is written payload.foo, a text \"foo\"",
        ],
    ),
    "a key that no source of the type has": (
        """\
defaults:
  redis-stream: {topics: [a], type: redis-stream}
  mqtt: {window: {evnts: 3}}
  kafka: {}
  amqp: []
sources:
  a: {type: mqtt, url: mqtt://localhost}
""",
        [
            "2:18: defaults.redis-stream.topics: unknown key 'topics'; it is called streams here",
            "2:31: defaults.redis-stream.type: there is no 'type' here; each type of sources has its own mapping in defaults",
            "3:19: defaults.mqtt.window.evnts: unknown key 'evnts'; did you mean 'events'?",
            "4:3: defaults.kafka: unknown key 'kafka'; known keys: amqp, mqtt, redis-pubsub, redis-stream",
            "5:9: defaults.amqp: takes a mapping, not a list",
        ],
    ),
    "a default that does not go with a source's own key is placed at that source": (
        """\
defaults:
  mqtt: {url: "mqtts://h", tls: {ca: /x}}
sources:
  a: {type: mqtt}
  b: {type: mqtt, url: mqtt://h}
""",
        [
            "5:3: sources.b: with defaults.mqtt.tls: mqtt:// is a connection without TLS; write mqtts:// in the URL, or remove tls",
        ],
    ),
    "a default that is wrong with every source is placed in defaults": (
        """\
defaults:
  mqtt: {url: "mqtt://h", tls: {ca: /x}}
sources:
  a: {type: mqtt}
  b: {type: mqtt}
""",
        ["2:27: defaults.mqtt.tls: mqtt:// is a connection without TLS; write mqtts:// in the URL, or remove tls"],
    ),
    "an id that each source needs for itself": (
        """\
defaults: {mqtt: {url: "mqtt://h", client_id: x}}
sources:
  a: {type: mqtt}
  b: {type: mqtt, client_id: b}
  c: {type: mqtt}
""",
        [
            "1:47: defaults.mqtt.client_id: sources.a has this client_id too: the broker would disconnect each for the other; give each source its own",
        ],
    ),
    "a key that neither has": (
        """\
defaults: {amqp: {url: "amqp://h"}}
sources:
  a: {type: amqp}
""",
        ["3:3: sources.a: the key 'queue' is missing; add queue: queue to consume"],
    ),
    "a reference without a value": (
        """\
defaults: {mqtt: {url: "mqtt://${HOST}"}}
sources: {a: {type: mqtt}, b: {type: mqtt}}
""",
        ["1:32: defaults.mqtt.url: the environment variable HOST is not set; set it, or write ${HOST:-fallback}"],
    ),
    "no mapping": (
        "defaults: [mqtt]\nsources: {a: {type: mqtt, url: mqtt://h}}\n",
        [
            "1:11: defaults: takes a mapping, not a list; as in defaults: {mqtt: {url: 'mqtts://broker.example.com', username: bridge}}"
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_found_once(case: str, loaded: Load) -> None:
    """And with the path of the place where it can be mended."""
    text, expected = CASES[case]
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    lines = [str(each).partition("\n")[0].partition("bridge.yaml:")[2] for each in caught.value.diagnostics]
    assert lines == expected


def test_placeholders_stand_for_the_references_in_defaults(tmp_path: Path) -> None:
    """As they do in sources: `check --allow-unset` and `test` find no mistake."""
    path = tmp_path / "bridge.yaml"
    path.write_text(
        "defaults: {mqtt: {url: '${A}', qos: '${B}', keepalive: '${C}', tls: {verify: '${D}'}}}\n"
        "sources: {a: {type: mqtt}, b: {type: mqtt, qos: 0}}\n"
    )
    loaded = load_with_places(path, Substitution({}, allow_unset=True))
    assert list(dict.fromkeys(loaded.unset)) == ["A", "B", "C", "D"]
    assert loaded.document.is_unset(("sources", "a", "url"))
